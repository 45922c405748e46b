/** A laptop with nothing set up: one command, an invented world, and it survives being killed. */
import assert from "node:assert/strict";
import { freePort } from "../stand_ins/processes.ts";
import { listening, type Ran, run, signIn } from "./service.ts";

const dev = ["run", "-A", "scripts/dev.ts"];

async function laptop() {
  const folder = await Deno.makeTempDir({ prefix: "switchboard-dev-" });
  const port = freePort();
  const variables = { DATA_DIR: folder, PORT: String(port) };
  const dispose = () => Deno.remove(folder, { recursive: true });
  return { folder, port, variables, [Symbol.asyncDispose]: dispose };
}
type Laptop = Awaited<ReturnType<typeof laptop>>;

const start = ({ variables, port }: Laptop) => listening(dev, variables, port);
const worldOf = async ({ folder }: Laptop) =>
  JSON.parse(await Deno.readTextFile(`${folder}/demo.json`));

type Person = { email: string; password: string };
type World = { url: string; operator: Person; tenants: { admin: Person; member: Person }[] };

async function everybodySignsIn(url: string, { operator, tenants }: World) {
  const people = [operator, ...tenants.flatMap(({ admin, member }) => [admin, member])];
  assert.equal(people.length, 9);
  for (const person of people) {
    const answer = await signIn(url, person);
    assert.equal(answer.status, 200, `${person.email}: ${await answer.text()}`);
  }
}

type Team = { api_key: string; models: string[] };

/** Any OpenAI client can use it at once, and is told that there is no model behind it. */
async function teamChats(url: string, { api_key, models }: Team) {
  const headers = { authorization: `Bearer ${api_key}`, "content-type": "application/json" };
  const listed = await (await fetch(`${url}/v1/models`, { headers })).json();
  const ids = listed.data.map(({ id }: { id: string }) => id);
  assert.deepEqual(ids, models);
  const answer = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers,
    body: JSON.stringify({ model: models[0], messages: [{ role: "user", content: "Rye?" }] }),
  });
  const said = await answer.text();
  assert.equal(answer.status, 200, said);
  for (const text of [said, JSON.stringify(listed)]) assert.match(text, /no(?:t a)? real model/);
}

function assertSentence({ code, err }: Ran, sentence: RegExp) {
  assert.equal(code, 1, err);
  assert.match(err, sentence);
  assert.ok(!/\n +at |file:\/\//.test(err), err);
}

Deno.test("scripts/dev.ts makes a world to sign in to, keeps it, and lets one process have it", async () => {
  await using home = await laptop();
  const began = performance.now();
  let service = await start(home);
  const first = performance.now() - began;
  const world = await worldOf(home);
  const text = { email: "string", password: "string" };
  const tenant = { id: "string", name: "string", admin: text, member: text };
  assert.deepEqual(shapeOf(world), {
    url: "string",
    operator: text,
    tenants: [tenant, tenant, tenant, tenant],
    team: { platform_name: "string", api_key: "string", models: ["string", "string", "string"] },
  });
  await teamChats(service.url, world.team);
  assert.equal(world.url, `http://localhost:${home.port}`);
  const { mode } = await Deno.stat(`${home.folder}/demo.json`);
  assert.equal((mode ?? 0) & 0o077, 0, "only its owner may read the passwords");
  await everybodySignsIn(service.url, world);
  assert.ok(service.said.out.includes(world.operator.password));

  const second = await run(dev, { ...home.variables, PORT: String(freePort()) });
  assertSentence(second, /Another process has .* open: stop it, or set DATA_DIR/);
  await using other = await laptop();
  const taken = await run(dev, { ...other.variables, PORT: String(home.port) });
  assertSentence(taken, /PORT is taken by another program/);

  await service.stop("SIGKILL");
  const again = performance.now();
  service = await start(home);
  const later = performance.now() - again;
  assert.deepEqual(await worldOf(home), world);
  await everybodySignsIn(service.url, world);
  assert.equal((await service.stop("SIGINT")).code, 0);
  console.log(
    `deno task dev answers after ${Math.round(first)} ms the first time, ` +
      `${Math.round(later)} ms after kill -9`,
  );
});

const shapeOf = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(shapeOf)
    : typeof value === "object" && value !== null
    ? Object.fromEntries(Object.entries(value).map(([key, part]) => [key, shapeOf(part)]))
    : typeof value;

Deno.test("scripts/dev.ts killed in its first start begins again, whole", async () => {
  const moments = Deno.env.get("PROVE") ? [200, 500, 900, 1_300, 1_700, 2_100, 2_500] : [1_200];
  for (const ms of moments) {
    await using home = await laptop();
    const child = new Deno.Command(Deno.execPath(), {
      args: dev,
      cwd: new URL("../../", import.meta.url),
      env: home.variables,
      stdout: "null",
      stderr: "null",
    }).spawn();
    await new Promise((resolve) => setTimeout(resolve, ms));
    child.kill("SIGKILL");
    await child.status;
    const service = await start(home);
    await everybodySignsIn(service.url, await worldOf(home));
    await service.stop();
    assert.deepEqual([...Deno.readDirSync(home.folder)].map(({ name }) => name).sort(), [
      "database",
      "demo.json",
      "keys.json",
      "lock",
    ]);
  }
});

Deno.test("scripts/dev.ts says in a sentence what is wrong with its folder or variables", async () => {
  await using home = await laptop();
  for (const text of ["{ half", "[]", '{"SIGNING_KEYS": 1}']) {
    await Deno.writeTextFile(`${home.folder}/keys.json`, text);
    assertSentence(await run(dev, home.variables), /keys\.json is damaged: put back a copy/);
    assert.equal(await Deno.readTextFile(`${home.folder}/keys.json`), text);
  }
  await using other = await laptop();
  const port = await run(dev, { ...other.variables, PORT: "8o8o" });
  assertSentence(port, /PORT is 8o8o: give a port number/);
  const level = await run(dev, { ...other.variables, LOG_LEVEL: "loud" });
  assertSentence(level, /LOG_LEVEL is not right\. Give debug, info, warn or error/);
  const away = await run(dev, {
    ...other.variables,
    DATABASE_URL: "postgres://u:p@127.0.0.1:1/none",
  });
  assertSentence(away, /127\.0\.0\.1:1 does not answer/);
});
