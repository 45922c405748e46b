/** Commands are for us and never for a model; which there are, and what they may do, the team's type says. */
import assert from "node:assert/strict";
import { spelled } from "../../src/teams/commands.ts";
import { type House, house, jsonOf, models } from "./house.ts";

let h: House;
Deno.test.beforeAll(async () => {
  h = await house();
});
Deno.test.beforeEach(() => h.upstream.resetCounts());
Deno.test.afterAll(() => h[Symbol.asyncDispose]());

const say = async (key: string, content: string, user_id = "ada") => {
  const response = await h.post(key, { user_id, content }, { path: "/api/v1/chat/messages" });
  const answer = await jsonOf(response);
  assert.equal(response.status, 200, JSON.stringify(answer));
  return answer;
};
const words = async (key: string, content: string) => String((await say(key, content)).content);

Deno.test("spelled tells commands from what is said to a model", () => {
  const cases: [string, string | null, string?][] = [
    ["/help", "help", ""],
    ["  /Help  ", "help", ""],
    ["/model openai/gpt-4", "model", "openai/gpt-4"],
    ["/model@the_bot openai/gpt-4 ", "model", "openai/gpt-4"],
    ["/model\nopenai/gpt-4", "model", "openai/gpt-4"],
    ["/start2 x", "start2", "x"],
    ["/", null],
    ["//help", null],
    ["/etc/passwd is a file", null],
    ["/24 is a mask", null],
    ["say /help", null],
    ["help", null],
    ["/help!", null],
  ];
  for (const [text, name, argument] of cases) {
    assert.deepEqual(spelled(text), name === null ? null : { name, argument }, text);
  }
});

for (const platformType of ["private", "public"] as const) {
  Deno.test(`the six commands of a ${platformType} team answer, and no model is asked`, async () => {
    const { key, id } = await h.team({ platformType, allowModelSwitch: null, rateLimit: 500 });
    const help = await words(key, "/help");
    for (const name of ["start", "help", "status", "clear", "model", "models"]) {
      assert.match(help, new RegExp(`^/${name} — \\w`, "m"));
    }
    assert.doesNotMatch(help, /settings/);
    assert.equal(await words(key, "/start"), `Hello. ${help}`);
    assert.equal(
      await words(key, "/models"),
      [
        `• ${models[0]} (answers now)`,
        ...models.slice(1).map((model) => `• ${model}`),
      ].join("\n"),
    );
    assert.equal(await words(key, "/model"), `${models[0]} answers.`);
    const isPrivate = platformType === "private";
    assert.equal(
      await words(key, `/model ${models[1]}`),
      isPrivate ? `From now on ${models[1]} answers.` : "The model cannot be changed here.",
    );
    const [now, remembered] = isPrivate ? [models[1], 30] : [models[0], 20];
    assert.equal(
      await words(key, "/status"),
      `Model: ${now}\nMessages so far: 0\nRemembered: the last ${remembered}\nRequests a minute: 500`,
    );
    assert.equal(await words(key, "/clear"), "There was nothing to forget.");
    for (const unknown of ["/settings", "/settings now", "/start2", "/constructor"]) {
      const [name] = unknown.split(" ");
      assert.equal(await words(key, unknown), `There is no ${name}.\n${help}`);
    }
    assert.equal(h.upstream.calls.length, 0);
    assert.deepEqual(await h.usage(id), [], "What asks no model costs no quota");
    const { model, is_partial } = await say(key, "/status");
    assert.deepEqual([model, is_partial], [null, false]);
    await say(key, "Hello!");
    assert.equal(h.upstream.calls[0]?.model, now);
    assert.match(await words(key, "/status"), /^Messages so far: 2$/m);
  });
}

Deno.test("/model obeys allow_model_switch, whichever way the team decides, and the list", async () => {
  const open = await h.team({ platformType: "public", allowModelSwitch: true });
  assert.equal(await words(open.key, `/model ${models[1]}`), `From now on ${models[1]} answers.`);
  const shut = await h.team({ platformType: "private", allowModelSwitch: false });
  assert.equal(await words(shut.key, `/model ${models[1]}`), "The model cannot be changed here.");
  const wrong = ["openai/gpt-5", "OPENAI/GPT-4", "gpt-4", `${models[1]} ${models[2]}`];
  for (const model of wrong) {
    const answer = await words(open.key, `/model ${model}`);
    assert.equal(answer, `There is no model ${model} here. /models shows those there are.`);
  }
  assert.equal(await words(open.key, "/model"), `${models[1]} answers.`);
  await say(open.key, "Hello!");
  assert.equal(h.upstream.calls[0]?.model, models[1]);
  // Each conversation has its own.
  const { content } = await say(open.key, "/model", "bob");
  assert.equal(content, `${models[0]} answers.`);
});

Deno.test("a model that left the list answers no more, and the default does", async () => {
  const { key, admin, id } = await h.team();
  await say(key, `/model ${models[2]}`);
  const teams = h.w.as(admin).teams.teams;
  await teams.update({ id, availableModels: [models[0], models[1]] });
  assert.equal(await words(key, "/model"), `${models[0]} answers.`);
  await say(key, "Hello!");
  await teams.update({ id, availableModels: null });
  assert.equal(await words(key, "/model"), `${models[2]} answers.`);
  assert.deepEqual(h.upstream.calls.map(({ model }) => model), [models[0]]);
});

Deno.test("a command the platform type does not offer is none", async () => {
  const root = h.w.as(h.w.operator).teams.platformConfigs;
  const { key } = await h.team({ platformType: "public" });
  await root.update({ platformType: "public", commands: ["help", "clear"] });
  const help = await words(key, "/help");
  assert.deepEqual(help.split("\n").slice(1).map((line) => line.split(" ")[0]), [
    "/help",
    "/clear",
  ]);
  assert.equal(await words(key, `/model ${models[1]}`), `There is no /model.\n${help}`);
  await root.update({
    platformType: "public",
    commands: ["start", "help", "status", "clear", "model", "models"],
  });
  assert.match(await words(key, "/model"), /answers/);
});
