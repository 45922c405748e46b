/** Signing keys in turn: in the order the tool allows no process refuses another's token, in any other one does. */
import assert from "node:assert/strict";
import { createLocalJWKSet, jwtVerify } from "jose";
import {
  added,
  type Clock,
  dueMs,
  NotYet,
  promoted,
  readSigningKeys,
  retired,
  ROLLOUT_MS,
  statusOf,
} from "../../scripts/signing_keys.ts";
import { ACCESS_TOKEN_SECONDS, JWKS_SECONDS, type SigningKey } from "../../src/access/tokens.ts";
import { app } from "../../src/app.ts";
import { openSession } from "../../src/identity/sessions.ts";
import { services } from "../../src/services.ts";
import { home } from "../identity/house.ts";

const h = await home();
const who = await h.login(await h.tenantBelow());

const clock = (rolloutMs = ROLLOUT_MS): Clock => ({ now: new Date(h.clock.ms), rolloutMs });
const later = (seconds: number) => h.clock.ms += seconds * 1_000;

/** A process that was started with these keys: its own services and its own front door. */
async function processWith(keys: SigningKey[]) {
  const process = await services({
    env: { ...h.w.env, SIGNING_KEYS: readSigningKeys(JSON.stringify(keys)) },
    database: h.w.database,
    now: () => new Date(h.clock.ms),
    write: () => {},
  });
  const options = {
    requestsPerMinute: 1e6,
    tenantRequestsPerMinute: 1e6,
    trustForwardedFor: false,
  };
  const hono = app(process, options);
  const sign = async () => (await openSession({ ...h.w.ctx(null), ...process }, who)).accessToken;
  const takes = async (token: string) => {
    const headers = { authorization: `Bearer ${token}` };
    const answer = await hono.fetch(
      new Request(`${h.w.env.PUBLIC_URL}/api/v1/auth/me`, { headers }),
    );
    await answer.body?.cancel();
    return answer.status === 200;
  };
  /** Somebody else's service that checks our tokens, with our keys as they were published now. */
  const published = createLocalJWKSet({ keys: process.tokens.jwks.keys });
  const outsider = async (token: string) => {
    const currentDate = new Date(h.clock.ms);
    return await jwtVerify(token, published, { currentDate }).then(() => true, () => false);
  };
  return { sign, takes, outsider, kids: process.tokens.jwks.keys.map(({ kid }) => kid) };
}
type Process = Awaited<ReturnType<typeof processWith>>;

/** How many tokens one of the processes refuses, of those each of them signs now. */
async function refusals(...processes: Process[]): Promise<number> {
  let refused = 0;
  for (const signer of processes) {
    const token = await signer.sign();
    for (const reader of processes) if (!await reader.takes(token)) refused++;
  }
  return refused;
}

Deno.test("keys turned over in the tool's order: no two processes side by side refuse each other", async () => {
  const first = await added([], clock());
  const before = await processWith(first);
  const second = await added(first, clock());
  const announced = await processWith(second);
  assert.equal(await refusals(before, announced), 0);
  later(ROLLOUT_MS / 1_000); // By now the last process of `before` is gone.
  const [cached, signedBefore] = [announced.outsider, await announced.sign()];
  later(JWKS_SECONDS);
  const third = promoted(second, clock());
  const turned = await processWith(third);
  assert.equal(await refusals(announced, turned), 0);
  assert.ok(await cached(await turned.sign()), "who asked for our keys meanwhile has the new one");
  assert.ok(await turned.takes(await announced.sign()));
  assert.equal(await turned.takes(signedBefore), false, "it has run out");
  later(ROLLOUT_MS / 1_000);
  const last = await announced.sign(); // Of the last process that signs with the old key.
  assert.ok(await turned.takes(last));
  later(ACCESS_TOKEN_SECONDS);
  const fourth = retired(third, clock());
  const alone = await processWith(fourth);
  assert.equal(await refusals(turned, alone), 0);
  assert.equal(await turned.takes(last), false, "nothing was left for the old key");
  const [a, b] = [first[0]?.kid, second[1]?.kid];
  assert.deepEqual([before, announced, turned, alone].map(({ kids }) => kids), [
    [a],
    [a, b],
    [a, b],
    [b],
  ]);
  assert.deepEqual(fourth.map(({ state }) => state), ["current"]);
});

Deno.test("keys turned over in any other order: tokens are refused", async () => {
  const first = await added([], clock());
  const second = await added(first, clock());
  const before = await processWith(first);
  const hasty = await processWith(
    promoted(second, { ...clock(), now: new Date(h.clock.ms + 1e9) }),
  );
  assert.equal(await refusals(before, hasty), 1, "a process that never heard of the new key");
  assert.equal(await before.outsider(await hasty.sign()), false, "and who keeps the old keys");
  const [, fresh] = second;
  assert.ok(fresh);
  const careless = await processWith([{ ...fresh, state: "current" }]);
  const announced = await processWith(second);
  const token = await announced.sign();
  assert.equal(await careless.takes(token), false, "the old key is gone before its tokens");
  assert.ok(await hasty.takes(token));
});

/** What the tool says to a stage whose time has not come. */
function refusalOf(stage: () => unknown): string {
  try {
    stage();
  } catch (error) {
    if (error instanceof NotYet) return error.message;
  }
  return "done";
}
const iso = (ms: number) => new Date(ms).toISOString();

Deno.test("promote takes a key that was published as next for as long as others keep our keys", async () => {
  const keys = await added(await added([], clock()), clock());
  const [current, next] = keys.map(({ kid }) => kid);
  const due = h.clock.ms + ROLLOUT_MS + JWKS_SECONDS * 1_000;
  const promote = (kid?: string, more = keys) => refusalOf(() => promoted(more, clock(), kid));
  assert.match(promote(), new RegExp(`^${next} may sign from ${iso(due)} on`));
  assert.match(promote(current), /is current: only a key that was published as next may sign/);
  assert.match(promote("nobody"), /SIGNING_KEYS has no key nobody/);
  assert.match(promote(undefined, keys.slice(0, 1)), /SIGNING_KEYS has no next key/);
  const undated = keys.map(({ since: _, ...key }) => key);
  assert.match(promote(undefined, undated), /Nobody knows since when .* is next\. Put "since":"/);
  h.clock.ms = due - 1;
  assert.match(promote(), /may sign from/);
  h.clock.ms = due;
  assert.equal(promote(), "done");
  const turned = promoted(keys, clock());
  assert.deepEqual(turned.map(({ kid, state, since }) => [kid, state, since]), [
    [current, "old", iso(due)],
    [next, "current", iso(due)],
  ]);
  assert.match(promote(current, turned), /is old: only a key that was published as next may sign/);
});

Deno.test("retire takes a key that signs no more, once its tokens have ended", async () => {
  const two = await added(await added([], clock()), clock());
  later(3_600);
  const keys = promoted(two, clock());
  const [old, current] = keys.map(({ kid }) => kid);
  const due = h.clock.ms + ROLLOUT_MS + ACCESS_TOKEN_SECONDS * 1_000;
  const retire = (kid?: string, more = keys) => refusalOf(() => retired(more, clock(), kid));
  assert.match(retire(), new RegExp(`^${old} may go from ${iso(due)} on`));
  assert.match(retire(current), /is current: only a key that signs no more is retired/);
  assert.match(retire(undefined, two), /SIGNING_KEYS has no old key/);
  assert.match(
    retire(undefined, keys.map(({ since: _, ...key }) => key)),
    /Nobody knows since when/,
  );
  assert.deepEqual(statusOf(keys, clock()), [
    `${old}  old  since: ${iso(h.clock.ms)}  may go from ${iso(due)}`,
    `${current}  current  since: ${iso(h.clock.ms)}  signs`,
  ]);
  h.clock.ms = due;
  assert.deepEqual(retired(keys, clock()).map(({ kid }) => kid), [current]);
});

Deno.test("add makes a first key that signs, and a second that does not, and no third", async () => {
  const first = await added([], clock());
  const second = await added(first, clock());
  assert.deepEqual(second.map(({ state }) => state), ["current", "next"]);
  assert.deepEqual(second.slice(0, 1), first);
  const [, next] = second;
  assert.ok(next);
  assert.equal(dueMs(next, clock(0)), h.clock.ms + JWKS_SECONDS * 1_000);
  await assert.rejects(added(second, clock()), /is next already: promote it, or take it out/);
});

Deno.test("keys from before they were dated still sign and are still read", async () => {
  const keys = (await added([], clock())).map(({ since: _, ...key }) => key);
  const [one, two] = [await processWith(keys), await processWith(keys)];
  assert.equal(await refusals(one, two), 0);
});

async function command(keys: SigningKey[] | string, ...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "scripts/keys.ts", "signing", ...args],
    cwd: new URL("../../", import.meta.url),
    env: { NO_COLOR: "1", SIGNING_KEYS: typeof keys === "string" ? keys : JSON.stringify(keys) },
    stdout: "piped",
    stderr: "piped",
  }).output();
  const [printed, said] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { code, printed: printed ?? "", said: said ?? "" };
}

Deno.test("deno task keys signing prints each stage's list, and 1 with a sentence when it is not time", async () => {
  const made = await command("", "add");
  const first = readSigningKeys(made.printed);
  const { printed } = await command(first, "add");
  const keys = readSigningKeys(printed);
  assert.deepEqual([made.code, keys.map(({ state }) => state)], [0, ["current", "next"]]);
  const early = await command(keys, "promote");
  assert.deepEqual([early.code, early.printed], [1, ""]);
  assert.match(
    early.said,
    /^\w{8} may sign from \d{4}-.*Z on: until then somebody may not know it\n$/,
  );
  const hourAgo = iso(Date.now() - 3_600_000);
  const aged = keys.map((key) => ({ ...key, since: hourAgo }));
  const turned = await command(aged, "promote", keys[1]?.kid ?? "");
  assert.deepEqual(readSigningKeys(turned.printed).map(({ state }) => state), ["old", "current"]);
  const soon = await command(turned.printed, "retire");
  assert.deepEqual([soon.code, soon.printed], [1, ""]);
  const damaged = await command('[{"kid":"a","d":"secret"}]', "promote");
  assert.deepEqual([damaged.code, damaged.printed], [1, ""]);
  assert.ok(!damaged.said.includes("secret"));
  assert.equal((await command(keys, "sign")).code, 2);
});

Deno.test.afterAll(() => h.w.close());
