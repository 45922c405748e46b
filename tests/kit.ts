/** The test kit: a database for this file, tenants, and people who live in them. */
import type { Database } from "../db/client.ts";
import { appRouter } from "../routers/mod.ts";
import { callerOf, type Meta } from "../routers/trpc.ts";
import { newSigningKey } from "../scripts/laptop.ts";
import type { Permission } from "../src/access/permissions.ts";
import { systemRoles } from "../src/access/roles.ts";
import type { Signing } from "../src/access/tokens.ts";
import { app } from "../src/app.ts";
import { asSystem, type Ctx, type Grants, type Principal } from "../src/context.ts";
import { type Env, readEnv } from "../src/env.ts";
import * as tenants from "../src/identity/tenants.ts";
import * as users from "../src/identity/users.ts";
import type { Mailer } from "../src/mailer.ts";
import { newKek } from "../src/secrets/keyring.ts";
import { services } from "../src/services.ts";
import { ROOT_TENANT } from "../src/topics.ts";
import { freshDatabase } from "./databases.ts";

export { freshDatabase } from "./databases.ts";

type Procedure = { path: string; type: string; permission?: Permission; meta: Meta };

/** Every procedure by its path. tRPC keeps them flat at run time; its types do not say so. */
export const procedures = (): Procedure[] =>
  Object.entries(
    appRouter._def.procedures as unknown as Record<string, { _def: { meta?: Meta; type: string } }>,
  ).map(([path, { _def: { meta = {}, type } }]) => ({
    path,
    type,
    meta,
    ...(meta.permission ? { permission: meta.permission } : {}),
  }));

/** Variables a service can start with, keys made for this run. */
export async function environment(more: Record<string, string> = {}): Promise<Env> {
  return readEnv({
    DATABASE_URL: "postgres://nobody@localhost/nowhere",
    PUBLIC_URL: "http://switchboard.test",
    SIGNING_KEYS: JSON.stringify([await newSigningKey("current")]),
    ENCRYPTION_KEYS: newKek("k1"),
    KEY_ENVIRONMENT: "test",
    LOG_LEVEL: "error",
    ALLOW_PRIVATE_HOSTS: "1",
    ...more,
  });
}

export type WorldOptions = {
  database?: Database;
  env?: Env;
  now?: () => Date;
  /** Takes the log's lines. */
  write?: (line: string) => void;
  mailer?: Mailer;
  resolveTxt?: (name: string) => Promise<string[][]>;
};

export type Person = Principal & { userId: string };

/** Nothing that changes later makes a token signed so out of date. */
export const unmoved: Signing = {
  homeEpoch: Number.MAX_SAFE_INTEGER,
  actingEpoch: Number.MAX_SAFE_INTEGER,
  untilMs: Infinity,
  isListed: false,
};

export async function world(options: WorldOptions = {}) {
  const database = options.database ?? await freshDatabase();
  const env = options.env ?? await environment();
  const process = await services({
    env,
    database,
    ...(options.now ? { now: options.now } : {}),
    ...(options.write ? { write: options.write } : {}),
    ...(options.mailer ? { mailer: options.mailer } : {}),
    ...(options.resolveTxt ? { resolveTxt: options.resolveTxt } : {}),
  });
  const hono = app(process, {
    requestsPerMinute: 1_000_000,
    tenantRequestsPerMinute: 1_000_000,
    trustForwardedFor: false,
  });
  await tenants.foundRoot(asSystem(process, ROOT_TENANT), "Switchboard");

  const ctx = (principal: Principal | null, more: Partial<Ctx> = {}): Ctx => ({
    ...process,
    principal,
    requestId: crypto.randomUUID(),
    address: "127.0.0.1",
    userAgent: null,
    ifMatch: null,
    idempotencyKey: null,
    ...more,
  });
  /** The typed procedures, called as `principal`. */
  const as = (principal: Principal | null, more: Partial<Ctx> = {}) =>
    callerOf(appRouter)({ held: ctx(principal, more) });
  /** Calls a procedure by its path, as a stranger would try a door. */
  const knock = (principal: Principal | null, path: string, input?: unknown) => {
    const door = path.split(".").reduce(
      (at: unknown, key) => Reflect.get(Object(at), key),
      as(principal),
    );
    return (door as (input?: unknown) => Promise<unknown>)(input);
  };
  /** Believed as it is, whatever the database says of its holder: tests hand out rights as they need. */
  const token = async (principal: Principal) =>
    (await process.tokens.sign(principal, process.now(), unmoved)).token;
  /** A request through the front door, with the principal's token when there is one. */
  const request = async (path: string, init: RequestInit = {}, principal?: Principal | null) => {
    const headers = new Headers(init.headers);
    if (principal) headers.set("authorization", `Bearer ${await token(principal)}`);
    if (init.body && !headers.has("content-type")) headers.set("content-type", "application/json");
    return await hono.fetch(new Request(`${env.PUBLIC_URL}${path}`, { ...init, headers }));
  };

  const person = async (
    tenantId: string,
    systemRole: string,
    more: { grants?: Grants; password?: string; email?: string } = {},
  ): Promise<Person> => {
    const email = more.email ?? `${crypto.randomUUID()}@people.example`;
    const { id } = await users.create(asSystem(process, tenantId), {
      email,
      displayName: `A ${systemRole}`,
      systemRole,
      ...(more.password ? { password: more.password } : {}),
    });
    return {
      actor: { type: "user", tenantId, id },
      tenantId,
      userId: id,
      sessionId: null,
      grants: more.grants ?? systemRoles[systemRole] ?? {},
    };
  };
  const tenant = async (name = "Harbour Bakery") => {
    const { id } = await tenants.create(asSystem(process, ROOT_TENANT), { name });
    return {
      tenantId: id,
      admin: await person(id, "admin"),
      member: await person(id, "member"),
      nobody: await person(id, "member", { grants: {} }),
    };
  };
  const operator = await person(ROOT_TENANT, "operator");
  return {
    process,
    database,
    env,
    hono,
    ctx,
    as,
    knock,
    token,
    request,
    person,
    tenant,
    operator,
    close: async () => {
      process[Symbol.dispose]();
      await database.close();
    },
  };
}
