/** The typed client against the real service over a real socket: sessions, refusals, batches. */
import assert from "node:assert/strict";
import { type Client, refusalOf, resume, type Session, signIn, withApiKey } from "../src/client.ts";
import { home } from "./identity/house.ts";

const h = await home();
const heard: {
  paths: string[];
  address: string;
  fail: ((path: string) => Response | null) | null;
} = {
  paths: [],
  address: "",
  fail: null,
};
const server = Deno.serve(
  { hostname: "127.0.0.1", port: 0, onListen: () => {} },
  (request, info) => {
    const { pathname } = new URL(request.url);
    heard.paths.push(pathname.replace("/trpc/", ""));
    return heard.fail?.(pathname) ?? h.w.hono.fetch(request, { remoteAddr: info.remoteAddr });
  },
);
const url = `http://127.0.0.1:${server.addr.port}/`;

async function stage() {
  const who = await h.login(await h.tenantBelow(), { role: "admin" });
  const told: Session[] = [];
  const client = await signIn(
    url,
    { email: who.email, password: who.password, tenant: who.tenantId },
    { onSession: (session) => void told.push(session) },
  );
  heard.paths.length = 0;
  heard.fail = null;
  return { who, client, told };
}
const me = ({ trpc }: Client) => trpc.identity.auth.me.query({});
const refreshes = () => heard.paths.filter((path) => path.includes("refresh")).length;
/** The session as it is when it has so many seconds left. */
const left = (session: Session | null, seconds: number): Session => {
  assert.ok(session);
  return { ...session, expiresAt: Date.now() + seconds * 1_000 };
};
async function failureOf(work: Promise<unknown>): Promise<unknown> {
  return await work.then(() => assert.fail("it worked"), (error: unknown) => error);
}

Deno.test("signIn of the client opens a session it tells of, and calls with it", async () => {
  const { who, client, told } = await stage();
  assert.equal((await me(client)).email, who.email);
  assert.deepEqual(told, [client.session()]);
  const seconds = ((client.session()?.expiresAt ?? 0) - Date.now()) / 1_000;
  assert.ok(seconds > 290 && seconds <= 300, `${seconds} s`);
  assert.deepEqual(heard.paths, ["identity.auth.me"]);
});

Deno.test("resume renews a session that is about to end, once for however many calls", async () => {
  const { client: { session } } = await stage();
  const told: Session[] = [];
  const client = resume(url, left(session(), 59), {
    onSession: (session) => void told.push(session),
  });
  const answers = await Promise.all(
    Array.from(
      { length: 50 },
      (_, i) => i % 2 ? me(client) : client.trpc.identity.apiKeys.list.query({ limit: 1 + i }),
    ),
  );
  assert.equal(answers.length, 50);
  assert.equal(refreshes(), 1);
  assert.equal(told.length, 1);
  assert.deepEqual(client.session(), told[0]);
  assert.notEqual(told[0]?.refreshToken, session()?.refreshToken);
  await me(client);
  assert.equal(refreshes(), 1);
});

Deno.test("resume leaves a session alone that holds for longer than a minute", async () => {
  const { client: { session } } = await stage();
  await me(resume(url, left(session(), 65)));
  assert.equal(refreshes(), 0);
});

Deno.test("two clients of one session renew it side by side", async () => {
  const { client: { session } } = await stage();
  const clients = [resume(url, left(session(), 0)), resume(url, left(session(), 0))];
  await Promise.all(clients.map(me));
  const [one, two] = clients.map((client) => client.session()?.refreshToken);
  assert.equal(one, two);
});

Deno.test("resume says plainly that the session is over, to every call that waits", async () => {
  const { client, told } = await stage();
  const session = client.session();
  await client.trpc.identity.auth.signOut.mutate({});
  const late = resume(url, left(session, 30));
  const failures = await Promise.all([me(late), me(late), me(late)].map(failureOf));
  for (const failure of failures) {
    assert.deepEqual(refusalOf(failure), {
      code: "Unauthorized",
      reason: "refresh_token.refused",
      fields: [],
    });
    assert.match(String(failure), /Sign in again: this session is over/);
  }
  assert.equal(refreshes(), 1);
  assert.equal(told.length, 1);
});

Deno.test("resume goes on with a token that still holds when the renewal does not get through", async () => {
  const { client: { session }, who } = await stage();
  heard.fail = (path) =>
    path.includes("refresh") ? new Response("bad gateway", { status: 502 }) : null;
  const client = resume(url, left(session(), 30));
  assert.equal((await me(client)).email, who.email);
  const failure = await failureOf(me(resume(url, left(session(), -1))));
  assert.equal(refusalOf(failure), null);
  heard.fail = null;
  await me(client);
  assert.equal(refreshes(), 3);
});

Deno.test("refusalOf gives code, reason and fields of a refusal, and null for other failures", async () => {
  const { client } = await stage();
  const unknown = await failureOf(
    client.trpc.identity.apiKeys.create.mutate({ name: "", scopes: [] }),
  );
  assert.deepEqual(refusalOf(unknown)?.code, "ValidationError");
  assert.deepEqual(refusalOf(unknown)?.fields.map(({ field }) => field), ["name", "scopes"]);
  const wrong = await failureOf(signIn(url, { email: "nobody@people.example", password: "x" }));
  assert.equal(refusalOf(wrong)?.reason, "sign_in.refused");
  const away = await failureOf(
    signIn("http://127.0.0.1:1", { email: "a@b.example", password: "x" }),
  );
  for (const other of [away, new Error("x"), null, { data: { fault: { code: "x" } } }]) {
    assert.equal(refusalOf(other), null);
  }
});

Deno.test("the client sends no more than twenty calls in one request, nor an address too long", async () => {
  const { client } = await stage();
  await Promise.all(Array.from({ length: 50 }, () => me(client)));
  // They leave at once, and any may come first.
  const sizes = heard.paths.map((path) => path.split(",").length);
  assert.deepEqual(sizes.toSorted((a, b) => b - a), [20, 20, 10]);
  heard.paths.length = 0;
  const actorId = crypto.randomUUID();
  const long = Array.from(
    { length: 20 },
    () => client.trpc.audit.list.query({ action: "é".repeat(128), actorId }),
  );
  await Promise.all(long);
  assert.ok(heard.paths.length > 1);
});

Deno.test("withApiKey calls as the key, until it is revoked", async () => {
  const { client, who } = await stage();
  const { key, apiKey } = await client.trpc.identity.apiKeys.create.mutate({
    name: "k",
    scopes: ["users.read"],
  });
  const program = withApiKey(url, key);
  assert.deepEqual(await me(program), {
    userId: who.userId,
    tenantId: who.tenantId,
    email: who.email,
    displayName: "A admin",
    permissions: { "users.read": "tenant" },
  });
  assert.equal(program.session(), null);
  const beyond = await failureOf(program.trpc.audit.list.query({}));
  assert.equal(refusalOf(beyond)?.code, "Forbidden");
  await client.trpc.identity.apiKeys.revoke.mutate({ id: apiKey.id });
  h.clock.ms += 5_000;
  assert.equal(refusalOf(await failureOf(me(program)))?.code, "Unauthorized");
});

/** Somebody who owns a tenant, and a tenant below it. */
async function owning() {
  const who = await h.login(await h.tenantBelow(), { role: "owner" });
  const below = await h.tenantBelow(who.tenantId);
  const { email, password } = who;
  const client = await signIn(url, { email, password });
  heard.paths.length = 0;
  heard.fail = null;
  return { who, below, client };
}
const exchanges = () => heard.paths.filter((path) => path.includes("exchange")).length;
/** So much later for the client; the service's own clock stands. */
async function later<T>(ms: number, work: () => Promise<T>): Promise<T> {
  const { now } = Date;
  Date.now = () => now() + ms;
  try {
    return await work();
  } finally {
    Date.now = now;
  }
}

Deno.test("actIn calls in another tenant as the same person, with every procedure and its types", async () => {
  const { who, below, client } = await owning();
  const there = await client.actIn(below);
  const { userId, tenantId, email } = await me(there);
  assert.deepEqual([userId, tenantId, email], [who.userId, below, who.email]);
  const theirs = await h.login(below);
  const { sessions } = await there.trpc.identity.sessions.list.query({ userId: theirs.userId });
  assert.deepEqual(sessions, []);
  assert.equal((await me(client)).tenantId, who.tenantId, "and at home as before");
  assert.equal(there.session(), null);
  const back = await there.actIn(who.tenantId);
  assert.equal((await me(back)).tenantId, who.tenantId);
});

Deno.test("actIn exchanges anew before its token ends, once for however many calls", async () => {
  const { below, client } = await owning();
  const there = await client.actIn(below);
  await Promise.all(Array.from({ length: 30 }, () => me(there)));
  assert.equal(exchanges(), 1);
  await later(241_000, async () => { // Home's is renewed on the way, and once too.
    await Promise.all(Array.from({ length: 30 }, () => me(there)));
    assert.deepEqual([exchanges(), refreshes()], [2, 1]);
  });
});

Deno.test("actIn says at once where one may do nothing, and to a key that it stays where it is", async () => {
  const { client, who } = await owning();
  const nowhere = refusalOf(await failureOf(client.actIn(crypto.randomUUID())));
  assert.equal(nowhere?.reason, "tenant.not_found");
  const scopes = ["sessions.exchange" as const];
  const { key } = await client.trpc.identity.apiKeys.create.mutate({ name: "k", scopes });
  const program = refusalOf(await failureOf(withApiKey(url, key).actIn(who.tenantId)));
  assert.equal(program?.reason, "exchange.needs_session");
});

Deno.test("actIn goes on no longer than the session does", async () => {
  const { below, client } = await owning();
  const there = await client.actIn(below);
  await client.trpc.identity.auth.signOut.mutate({});
  assert.equal(refusalOf(await failureOf(me(there)))?.code, "Unauthorized");
  const failure = await later(241_000, () => failureOf(me(there)));
  assert.equal(refusalOf(failure)?.reason, "refresh_token.refused");
});

Deno.test.afterAll(async () => {
  await server.shutdown();
  await h.w.close();
});
