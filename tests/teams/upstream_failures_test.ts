/** What goes wrong behind the gateway: said in OpenAI's shape, tried again, settled for what it was. */
import assert from "node:assert/strict";
import { tokensOf } from "../../src/teams/gateway/requests.ts";
import { tcp } from "../outbound/servers.ts";
import { quotaExceeded } from "../stand_ins/openai.ts";
import { errorOf, hello, type House, house } from "./house.ts";
import { oddUpstream } from "./odd_upstream.ts";

let h: House;
Deno.test.beforeAll(async () => {
  h = await house();
});
Deno.test.beforeEach(() => {
  h.upstream.clearPlans();
  h.upstream.resetCounts();
});
Deno.test.afterAll(() => h[Symbol.asyncDispose]());

const odd = { ...hello, model: "odd/model" };
const input = tokensOf(JSON.stringify(hello.messages));

Deno.test("an upstream's refusal is passed on where it is about the request, else told as ours", async () => {
  const { key, id } = await h.team();
  const cases: [number, number, string, string][] = [
    [401, 502, "upstream_auth", "false"],
    [403, 502, "upstream_auth", "false"],
    [402, 502, "upstream_quota", "false"],
    [404, 502, "upstream_model", "false"],
    [405, 502, "upstream_error", "false"],
    [409, 502, "upstream_error", "false"],
    [415, 502, "upstream_error", "false"],
    [429, 503, "upstream_busy", "true"],
    [500, 502, "upstream_error", "true"],
    [503, 502, "upstream_error", "true"],
    [599, 502, "upstream_error", "true"],
  ];
  for (const stream of [false, true]) {
    for (const [status, ours, code, retry] of cases) {
      h.upstream.fail({ status, headers: {} });
      const response = await h.post(key, { ...hello, stream });
      assert.ok(response.headers.get("x-ratelimit-remaining-requests"));
      const error = await errorOf(response);
      assert.deepEqual(
        [error.status, error.code, error.retry, error.type],
        [ours, code, retry, "server_error"],
        String(status),
      );
    }
  }
  h.upstream.fail(quotaExceeded);
  assert.equal((await errorOf(await h.post(key, hello))).code, "upstream_quota");
  // It cost nothing: the upstream says so by its status.
  const rows = await h.usage(id);
  assert.equal(rows.length, 2 * cases.length + 1);
  for (const row of rows) {
    assert.deepEqual(
      [row.outcome, row.input_tokens, row.output_tokens, row.usage_source],
      ["failed", 0, 0, "provider"],
    );
    assert.ok(Number(row.status) >= 400);
  }
});

Deno.test("an upstream's words about the request are the client's, and stay in OpenAI's shape", async () => {
  const { key } = await h.team();
  const wrong = await h.post(key, { ...hello, temperature: 9 });
  const { param, code, message, retry } = await errorOf(wrong);
  assert.deepEqual([wrong.status, param, code, retry], [
    400,
    "temperature",
    "decimal_above_max_value",
    "false",
  ]);
  assert.match(message, /temperature/);
  await using on = await oddUpstream(h);
  const cases: [number, string, string, string][] = [
    [400, "application/json", '{"detail":"max_tokens is too large"}', "max_tokens is too large"],
    [422, "application/json", '{"error":"model has no tools"}', "model has no tools"],
    [400, "application/json", '{"object":"error","message":"Too long","code":400}', "Too long"],
    [
      413,
      "text/html",
      "<html>nginx at 10.0.0.1</html>",
      "The model's provider refused the request",
    ],
    [400, "application/json", "{", "The model's provider refused the request"],
    [422, "text/plain", "", "The model's provider refused the request"],
  ];
  for (const [status, type, body, message] of cases) {
    on.answers(status, type, body);
    const error = await errorOf(await h.post(on.team.key, odd));
    assert.deepEqual(
      [error.status, error.message, error.type, error.code],
      [status, message, "invalid_request_error", "upstream_refused"],
    );
  }
});

Deno.test("what is no answer at all is none, and is never shown", async () => {
  await using on = await oddUpstream(h);
  const cases: [number, string | null, string][] = [
    [200, "text/html", "<html>Log in to the hotel's network</html>"],
    [200, "text/plain", "OK"],
    [200, "application/json", "<html>"],
    [200, "application/json", '"text"'],
    [200, "application/json", ""],
    [200, null, "SECRET"],
    [200, "application/json", '{"error":{"message":"SECRET","code":500}}'],
    [200, "text/event-stream", "data: {}\n\n"],
    [204, null, ""],
  ];
  for (const [status, type, body] of cases) {
    on.answers(status, type, body);
    const response = await h.post(on.team.key, odd);
    const error = await errorOf(response);
    assert.deepEqual([error.status, error.code], [502, "upstream.failed"], `${type} ${body}`);
    assert.doesNotMatch(error.message, /SECRET|html/);
  }
  for (const { outcome, status, usage_source, input_tokens } of await h.usage(on.team.id)) {
    assert.deepEqual([outcome, usage_source, input_tokens], ["failed", "input_floor", input]);
    assert.ok(status === 200 || status === 204);
  }
});

Deno.test("an upstream that is not there, or is not one, is said to be so", async () => {
  const { admin, key, id } = await h.team({ availableModels: ["gone/model", "late/model"] });
  const own = h.w.as(admin).teams.upstreams;
  const gone = await tcp(() => {});
  const dead = `http://127.0.0.1:${gone.port}`;
  await gone[Symbol.asyncDispose]();
  await own.create({ name: "Gone", modelPrefix: "gone/", baseUrl: dead, maxAttempts: 2 });
  await using noise = await tcp((socket) => void socket.end("this is no HTTP\r\n\r\n"));
  await using silence = await tcp(() => {});
  const refused = await errorOf(await h.post(key, { ...hello, model: "gone/model" }));
  assert.deepEqual([refused.status, refused.code, refused.retry], [502, "upstream.failed", "true"]);
  assert.doesNotMatch(refused.message, /127\.0\.0\.1|ECONN/);
  const late = await own.create({
    name: "Late",
    modelPrefix: "late/",
    baseUrl: `http://127.0.0.1:${noise.port}`,
    maxAttempts: 1,
  });
  const garbage = await errorOf(await h.post(key, { ...hello, model: "late/model" }));
  assert.deepEqual([garbage.status, garbage.code], [502, "upstream.failed"]);
  const silent = `http://127.0.0.1:${silence.port}`;
  await own.update({ id: late.id, baseUrl: silent, timeoutMs: 100 });
  const nobody = await errorOf(await h.post(key, { ...hello, model: "late/model" }));
  assert.deepEqual([nobody.status, nobody.code, nobody.retry], [504, "upstream.timeout", "true"]);
  const rows = (await h.usage(id)).map((row) => [
    row.outcome,
    row.status,
    row.attempts,
    row.usage_source,
    row.input_tokens,
  ]);
  assert.deepEqual(rows, [
    ["failed", null, 2, "input_floor", input],
    ["failed", null, 1, "input_floor", input],
    ["failed", null, 1, "input_floor", input],
  ]);
});

Deno.test("a redirect is not followed, and an answer that breaks off is no answer", async () => {
  await using on = await oddUpstream(h);
  on.side.answer = (_, response) => {
    response.writeHead(307, { location: "https://elsewhere.example/v1" });
    response.end();
  };
  assert.equal((await errorOf(await h.post(on.team.key, odd))).code, "upstream.failed");
  on.side.answer = (_, response) => {
    response.writeHead(200, { "content-type": "application/json", "content-length": "100" });
    response.write('{"choices":[', () => response.destroy());
  };
  assert.equal((await errorOf(await h.post(on.team.key, odd))).code, "upstream.failed");
  const rows = await h.usage(on.team.id);
  assert.deepEqual(rows.map(({ usage_source }) => usage_source), ["input_floor", "input_floor"]);
});

Deno.test("the provider's key and address reach nobody: no client, no log, no audit, no event", async () => {
  await using on = await oddUpstream(h);
  const { host } = new URL(on.upstream.baseUrl);
  const telling = `key sk-odd-secret-key at http://${host}/secret/path is wrong`;
  const error = JSON.stringify({ error: { message: telling, type: "x", param: null, code: null } });
  const shown: string[] = [];
  const ask = async (body: unknown) => {
    const response = await h.post(on.team.key, body);
    shown.push(JSON.stringify([...response.headers]), await response.text());
  };
  for (const status of [400, 401, 403, 404, 422, 429, 500]) {
    on.answers(status, "application/json", error);
    await ask(odd);
    on.answers(status, "text/html", telling);
    await ask({ ...odd, stream: true });
  }
  on.streams([`data: ${error}\n\n`]);
  await ask({ ...odd, stream: true });
  assert.ok(shown.join().includes("key … at http://… is wrong"), shown.join("\n"));
  await on[Symbol.asyncDispose]();
  await ask(odd);
  const { tenantId } = on.team;
  const trail = await h.sql("select * from audit_entries where tenant_id = $1", [tenantId]);
  const events = await h.sql("select * from events where tenant_id = $1", [tenantId]);
  const told = { clients: shown, lines: h.lines, events, usage: await h.usage(on.team.id) };
  for (const [where, text] of Object.entries({ ...told, trail })) {
    assert.ok(!JSON.stringify(text).includes("sk-odd-secret-key"), where);
    // Who runs the upstream may see in the trail where it stands.
    if (where !== "trail") assert.ok(!JSON.stringify(text).includes(host), where);
  }
});
