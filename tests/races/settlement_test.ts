/** What a request came to is written once, whatever happens to the database or the process meanwhile. */
import assert from "node:assert/strict";
import { open } from "../../db/client.ts";
import { app } from "../../src/app.ts";
import { services } from "../../src/services.ts";
import { settled } from "../../src/teams/admission.ts";
import { until } from "../db/house.ts";
import { type CuttingProxy, cuttingProxy } from "../stand_ins/cutting_proxy.ts";
import { started } from "../start/service.ts";
import { disagreements, expireAll, totals } from "./books.ts";
import { chat, type TeamHouse, teamHouse, variablesOf } from "./team_house.ts";

let home: TeamHouse;
let network: CuttingProxy;
Deno.test.beforeAll(async () => {
  home = await teamHouse();
  network = cuttingProxy(home.server.url);
});
Deno.test.afterAll(async () => {
  await home.close();
  await network.stop();
});

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const serve = () => started({ ...variablesOf(home.env), DATABASE_URL: network.url });
const outcomesOf = async (team: string) =>
  (await home.server.admin(`select outcome, usage_source, output_tokens from usage_logs
    where team_id = '${team}' order by id`)).map((row) => Object.values(row).join(" "));

/** Resolves when the model has begun so many answers to this. */
const begun = (said: string, times = 1) =>
  until(() => home.model.seen.get(said) === times, `${times} answers to ${said} have begun`);

/** Has the model hold its answers, so that none is settled before all have begun; what is returned lets them go. */
function held(): () => void {
  const { promise, resolve } = Promise.withResolvers<void>();
  home.model.held = promise;
  return resolve;
}

Deno.test("answers that come while the database is away are settled once, when it is back", async () => {
  const process = await services({ env: home.env, database: open(network.url), write: () => {} });
  const hono = app(process, {
    requestsPerMinute: 1_000_000,
    tenantRequestsPerMinute: 1_000_000,
    trustForwardedFor: false,
  });
  const { id, apiKey } = await home.team();
  const answer = held();
  home.model.delayMs = () => 150;
  const answers = Array.from({ length: 20 }, async (_, n) => {
    const init = chat(apiKey, { stream: n % 2 === 0 }, "away");
    const told = await hono.fetch(
      new Request(`${home.env.PUBLIC_URL}/v1/chat/completions`, init),
    );
    return `${told.status} ${(await told.text()).includes("baker")}`;
  });
  await begun("away", 20);
  network.setDown(true);
  answer();
  assert.deepEqual(new Set(await Promise.all(answers)), new Set(["200 true"]));
  let isWritten = false;
  const writing = settled(process).then(() => isWritten = true);
  await pause(600);
  assert.deepEqual([isWritten, (await totals(home.server, id)).rows], [false, 0]);
  network.setDown(false);
  await writing;
  assert.deepEqual(new Set(await outcomesOf(id)), new Set(["answered provider 5"]));
  const { rows, leases, admitted_day } = await totals(home.server, id);
  assert.deepEqual({ rows, leases, admitted_day }, { rows: 20, leases: 0, admitted_day: 20 });
  assert.deepEqual(await disagreements(home.server), []);
  await process.database.close();
});

Deno.test("a process that is told to end writes first what waits to be settled", async () => {
  await using process = await serve();
  const { id, apiKey } = await home.team();
  const answer = held();
  home.model.delayMs = () => 200;
  const answers = Array.from({ length: 10 }, async () => {
    const told = await fetch(`${process.url}/v1/chat/completions`, chat(apiKey, {}, "ends"));
    await told.body?.cancel();
    return told.status;
  });
  await begun("ends", 10);
  network.setHung(true);
  answer();
  assert.deepEqual(new Set(await Promise.all(answers)), new Set([200]));
  const ended = process.stop();
  await pause(300);
  assert.equal((await totals(home.server, id)).rows, 0);
  network.setHung(false);
  assert.equal((await ended).code, 0);
  const { rows, leases } = await totals(home.server, id);
  assert.deepEqual({ rows, leases }, { rows: 10, leases: 0 });
});

Deno.test("a process that is told to end lets answers end that soon do, and cuts the others off in good form", async () => {
  await using process = await serve();
  const { id, apiKey } = await home.team();
  const ask = async (more: Record<string, unknown>, said: string) => {
    const answer = await fetch(`${process.url}/v1/chat/completions`, chat(apiKey, more, said));
    return `${answer.status} ${await answer.text()}`;
  };
  home.model.delayMs = (said) => said === "soon" ? 200 : 1_000;
  const [soon, late] = [ask({ stream: true }, "soon"), ask({ stream: true }, "late")];
  await begun("soon");
  await begun("late");
  const ended = process.stop();
  assert.match(await soon, /^200 .*\[DONE\]\n\n$/s);
  assert.match(await late, /^200 .*"upstream_cut".*\[DONE\]\n\n$/s);
  assert.equal((await ended).code, 0);
  const [first, second] = (await outcomesOf(id)).sort();
  assert.equal(first, "answered provider 5");
  assert.match(second ?? "", /^cut counted [1-9]/);
  assert.deepEqual(await disagreements(home.server), []);
});

Deno.test("what a killed process leaves behind is settled by another, unasked", async () => {
  const victim = await serve();
  const { id, apiKey } = await home.team();
  home.model.delayMs = () => 1_000;
  const asked = fetch(`${victim.url}/v1/chat/completions`, chat(apiKey, {}, "killed"));
  const lost = asked.then(() => "answered", () => "lost");
  await begun("killed");
  await victim.stop("SIGKILL");
  assert.equal(await lost, "lost");
  assert.deepEqual((await totals(home.server, id)).leases, 1);
  await expireAll(home.server);
  await using _ = await serve();
  await until(async () => (await totals(home.server, id)).rows === 1, "another settles it");
  assert.deepEqual(await outcomesOf(id), ["lost input_floor 0"]);
  assert.deepEqual(await disagreements(home.server), []);
});
