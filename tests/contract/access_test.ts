/** Who may knock where: every procedure names its permission and turns away all who lack it, unread. */
import assert from "node:assert/strict";
import { TRPCError } from "@trpc/server";
import type { Entry } from "../../routers/procedures.ts";
import { ladder, permissions } from "../../src/access/permissions.ts";
import { systemRoles } from "../../src/access/roles.ts";
import type { Principal } from "../../src/context.ts";
import {
  placeOf,
  restEntries,
  rests,
  statusOf,
  trpcGet,
  trpcPost,
  uuidSpots,
  withAt,
} from "./doors.ts";
import { team } from "./examples/teams.ts";
import { entries, everything, house, streams } from "./house.ts";

/** Procedures anyone may call. Shrinks only; each needs a reason nobody can argue with. */
const open: Readonly<Record<string, string>> = {
  "identity.auth.signIn": "Who signs in is not known yet; the password is the proof",
  "identity.auth.refresh": "The refresh token is the proof; the access token has run out",
  "identity.invitations.accept": "Who is invited is no user yet; the token sent is the proof",
  "identity.passwordResets.request": "Who forgot the password cannot sign in; it tells nothing",
  "identity.passwordResets.confirm": "Who forgot the password has the token of the message",
  "identity.sso.start": "Who signs in is not known yet; it gives nothing but a way to a provider",
  "identity.sso.complete": "The secret that start gave and the provider's ID token are the proof",
};

/** Reading aside, these only say that they are read. */
const pages = [
  ...["/health", "/ready", "/.well-known/jwks.json", "/openapi.json", "/problems/:code"],
  ...["/docs", "/docs/reader.js", "/docs/reader.css"],
];
/** OpenAI's paths, for whoever holds a team's key. */
const gateway = {
  "/v1/chat/completions": "POST",
  "/v1/embeddings": "POST",
  "/v1/models": "GET",
  "/v1/models/:model{.+}": "GET",
};
/** Routes that are no procedure, and why they need no permission of their own. */
const routes: Readonly<Record<string, string>> = {
  ...Object.fromEntries(pages.map((path) => [`ALL ${path}`, "Answers 405 and OPTIONS"])),
  ...Object.fromEntries(
    Object.keys(gateway).map((path) => [`ALL ${path}`, "Answers 405 and OPTIONS"]),
  ),
  "POST /v1/channels/:id/updates": "A platform's update: the secret it carries is the proof",
  "ALL /v1/channels/:id/updates": "Answers 405 and OPTIONS",
  "ALL /v1/*": "Answers 404 in the shape OpenAI's clients read",
  "ALL /*": "Middleware: the request id and the log",
  "GET /health": "A load balancer asks; it says only that the process answers",
  "GET /ready": "A load balancer asks; it says only whether the database answers",
  "GET /.well-known/jwks.json": "Public keys, so that others can check our tokens",
  "ALL /trpc/:path{.+}": "The procedures themselves, each with its own permission",
  "GET /docs": "The reference holds no tenant's data",
  "GET /docs/reader.js": "The reference's script",
  "GET /docs/reader.css": "The reference's style",
  "GET /openapi.json": "The document holds no tenant's data",
  "GET /problems/:code": "Explains a failure code",
  "ALL /api/v1/oauth/callback": "The provider's redirect: the state in it is the proof, used once",
  "ALL /api/v1/auth/sso/callback": "The provider's redirect: the state is the proof, used once",
};
/** Routes that are no procedure and do ask for a permission: the test below knocks at each. */
const guarded: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    Object.entries(gateway).map(([path, method]) => [`${method} ${path}`, "chat.send"]),
  ),
  "ALL /api/v1/bindings/:id/proxy/:host": "bindings.proxy",
  "ALL /api/v1/bindings/:id/proxy/:host/*": "bindings.proxy",
  "ALL /api/v1/usage.csv": "usage.read",
};

const w = await house();
const { tenantId, boss } = await w.side(w.root.tenantId, "Harbour Bakery");
const guardedEntries = entries.filter(({ meta }) => meta.permission);

/** Everyone who lacks exactly one permission, at every reach. */
const lacking = (permission: string): Principal[] =>
  ladder.map((reach) => ({ ...boss, grants: everything(reach, permission) }));

/** Inputs a caller who is turned away must not get an opinion about. */
const unread = (entry: Entry): unknown[] => [
  undefined,
  { thisFieldDoesNotExist: true },
  uuidSpots(entry).reduce<unknown>((input, { path }) => withAt(input, path, "no id"), {}),
];

/** An input that tells when somebody looks into it. */
function trap() {
  let isSprung = false;
  const spring = () => isSprung = true;
  const input = new Proxy({}, {
    get: (_, name) => name === "then" ? undefined : (spring(), undefined),
    ownKeys: () => (spring(), []),
    getOwnPropertyDescriptor: () => (spring(), undefined),
  });
  return { input, isSprung: () => isSprung };
}

async function refusalOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "let in";
  } catch (error) {
    return error instanceof TRPCError ? error.code : String(error);
  }
}

Deno.test("every procedure names a permission of the catalogue or is listed as open", () => {
  for (const { path, meta } of entries) {
    const reason = open[path];
    assert.ok(
      meta.permission || reason,
      `${path} is open to everyone: mount it with may("…"), or list it in access_test.ts with a reason`,
    );
    assert.ok(
      !(meta.permission && reason),
      `${path} is guarded now: take it off the list of open ones`,
    );
    if (meta.permission) assert.ok(permissions.includes(meta.permission), meta.permission);
  }
  const gone = Object.keys(open).filter((path) => !entries.some((entry) => entry.path === path));
  assert.deepEqual(gone, [], "These are gone: take them off the list of open procedures");
});

Deno.test("every permission of the catalogue opens a procedure or a route", () => {
  const used = new Set([...entries.map(({ meta }) => meta.permission), ...Object.values(guarded)]);
  const idle = permissions.filter((p) => !used.has(p));
  assert.deepEqual(idle, [], "Nothing asks for these permissions: use them or take them out");
});

Deno.test("operators hold every permission", () => {
  for (const permission of permissions) {
    assert.ok(systemRoles.operator?.[permission], `${permission}: add it to src/access/roles.ts`);
  }
});

Deno.test("every procedure turns away strangers before it reads the input", async () => {
  for (const { path } of guardedEntries) {
    const { input, isSprung } = trap();
    assert.equal(await refusalOf(w.w.knock(null, path, input)), "UNAUTHORIZED", path);
    assert.ok(
      !isSprung(),
      `${path} looked into the input of a stranger: put may(…) before .input(…)`,
    );
  }
});

Deno.test("every procedure turns away whoever has every permission but its own", async () => {
  for (const { path, meta } of guardedEntries) {
    for (const principal of lacking(meta.permission ?? "")) {
      const { input, isSprung } = trap();
      assert.equal(await refusalOf(w.w.knock(principal, path, input)), "FORBIDDEN", path);
      assert.ok(!isSprung(), `${path} looked into the input of someone without permission`);
    }
  }
});

Deno.test("every procedure lets in whoever has its permission, as far as the input", async () => {
  for (const { path, meta } of guardedEntries) {
    const only = { ...boss, grants: { [meta.permission ?? ""]: "tenant" } };
    const refusal = await refusalOf(w.w.knock(only, path, { thisFieldDoesNotExist: true }));
    assert.equal(refusal, "BAD_REQUEST", `${path} asks for more than ${meta.permission}`);
  }
});

Deno.test("every stream names its permission and turns away all who lack it, unread", async () => {
  assert.ok(streams.length > 0);
  for (const { path, permission } of streams) {
    assert.ok(permission, `${path} is open to everyone: mount it with may("…")`);
    const ask = async (who: Principal | null, input: unknown) => {
      const { url, init } = trpcGet(path, input);
      return await statusOf(await w.w.request(url, init, who));
    };
    const only = { ...boss, grants: { [permission]: "tenant" as const } };
    for (const who of [null, ...lacking(permission)]) {
      const { input, isSprung } = trap();
      const refusal = await refusalOf(w.w.knock(who, path, input));
      assert.equal(refusal, who ? "FORBIDDEN" : "UNAUTHORIZED", path);
      assert.ok(!isSprung(), `${path} looked into the input of somebody without permission`);
      assert.equal(await ask(who, { thisFieldDoesNotExist: true }), who ? 403 : 401, path);
    }
    assert.equal(await ask(only, { thisFieldDoesNotExist: true }), 400, path);
  }
});

Deno.test("tRPC answers 401 and 403 over HTTP whatever the input is", async () => {
  for (const entry of guardedEntries) {
    const principals = [[null, 401], [lacking(entry.meta.permission ?? "").at(-1), 403]] as const;
    for (const [principal, status] of principals) {
      for (const input of unread(entry)) {
        const calls = entry.type === "query"
          ? [trpcGet(entry.path, input ?? null)]
          : [trpcPost(entry.path, input)];
        for (const { url, init } of calls) {
          const answer = await w.w.request(url, init, principal);
          const text = await answer.text();
          assert.equal(answer.status, status, `${url}: ${text}`);
          assert.match(text, status === 401 ? /"UNAUTHORIZED"/ : /"FORBIDDEN"/, url);
        }
      }
    }
  }
});

Deno.test("REST answers 401 and 403 whatever the body is", async () => {
  for (const entry of guardedEntries.filter(placeOf)) {
    const principals = [[null, 401], [lacking(entry.meta.permission ?? "").at(-1), 403]] as const;
    for (const [principal, status] of principals) {
      for (const input of unread(entry)) {
        for (const call of rests(entry, input ?? {})) {
          const { method } = call.init;
          const bodies = method === "GET" || method === "DELETE"
            ? [null]
            : ["{", "\0", "[[[[", '{"__proto__":1}', "x".repeat(2 * 1024 * 1024)];
          for (const body of bodies) {
            const init = { ...call.init, body };
            const answer = await w.w.request(call.url, init, principal);
            assert.equal(answer.status, status, `${method} ${call.url} with ${body?.slice(0, 20)}`);
          }
        }
      }
    }
  }
});

Deno.test("every procedure refuses a key whose scopes do not hold its permission", async () => {
  const keyOf = async (scopes: (typeof permissions)[number][]) =>
    (await w.w.as(boss).identity.apiKeys.create({ name: "narrow", scopes })).key;
  const [first, second] = [await keyOf(["audit.read"]), await keyOf(["events.read"])];
  for (const entry of guardedEntries) {
    const key = entry.meta.permission === "audit.read" ? second : first;
    const { url, init } = entry.type === "query"
      ? trpcGet(entry.path, { nothing: 1 })
      : trpcPost(entry.path, { nothing: 1 });
    const headers = { "x-api-key": key, "content-type": "application/json" };
    const answer = await w.w.request(url, { ...init, headers });
    assert.equal(answer.status, 403, entry.path);
  }
});

Deno.test("a team's key opens what is chat's, and no other procedure at any door", async () => {
  const { id: teamId } = await team(w, { tenantId, boss, password: "", email: "" });
  const { key } = await w.w.as(boss).teams.teamKeys.create({ teamId, name: "second" });
  const headers = { "x-api-key": key, "content-type": "application/json" };
  let others = 0;
  for (const entry of guardedEntries) {
    const isChat = entry.meta.permission?.startsWith("chat.");
    const input = { thisFieldDoesNotExist: true };
    const calls = [
      entry.type === "query" ? trpcGet(entry.path, input) : trpcPost(entry.path, input),
      ...rests(entry, input),
    ];
    for (const { url, init } of calls) {
      const answer = await w.w.request(url, { ...init, headers });
      await answer.body?.cancel();
      assert.equal(answer.status === 403, !isChat, `${init.method} ${url}: ${answer.status}`);
      if (!isChat) others++;
    }
  }
  assert.ok(others > guardedEntries.length);
});

Deno.test("the principal never comes from the request", async () => {
  const claims = { tenantId, userId: boss.userId, principal: boss, actor: boss.actor };
  const headers = { "x-user-id": boss.userId, "x-tenant-id": tenantId, "x-forwarded-user": "root" };
  for (const entry of guardedEntries) {
    for (const call of [trpcPost(entry.path, claims), ...rests(entry, claims, claims)]) {
      if (entry.type === "query" && call.init.method === "POST") continue;
      const init = { ...call.init, headers: { ...headers, "content-type": "application/json" } };
      assert.equal((await w.w.request(call.url, init)).status, 401, `${entry.path} at ${call.url}`);
    }
  }
});

Deno.test("every route is a procedure's or listed with its reason", () => {
  const known = new Set(restEntries.flatMap(({ rest: { method, path } }) => {
    const route = path.replaceAll(/\{([^}]*)\}/g, ":$1");
    return [`${method} ${route}`, `ALL ${route}`];
  }));
  const there = new Set(w.w.hono.routes.map(({ method, path }) => `${method} ${path}`));
  for (const route of there) {
    assert.ok(
      known.has(route) || routes[route] || guarded[route],
      `${route} is no procedure's: list it in access_test.ts, with why it needs no permission`,
    );
  }
  const gone = Object.keys(routes).filter((route) => !there.has(route));
  assert.deepEqual(gone, [], "These routes are gone: take them off the list");
});

Deno.test("every guarded route that is no procedure turns strangers and the unpermitted away", async () => {
  const there = new Set(w.w.hono.routes.map(({ method, path }) => `${method} ${path}`));
  for (const [route, permission] of Object.entries(guarded)) {
    assert.ok(there.has(route), `${route} is gone: take it off the list of guarded routes`);
    const [asked = "", at = ""] = route.split(" ");
    const path = at.replaceAll(/:\w+(\{[^}]*\})?/g, crypto.randomUUID()).replace("*", "me");
    const every = ["GET", "POST", "PUT", "PATCH", "DELETE"];
    for (const method of asked === "ALL" ? every : [asked]) {
      assert.equal((await w.w.request(path, { method })).status, 401, `${method} ${path}`);
      for (const principal of lacking(permission)) {
        assert.equal((await w.w.request(path, { method }, principal)).status, 403, path);
      }
    }
  }
});
