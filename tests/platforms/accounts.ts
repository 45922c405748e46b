/** What tests of connected accounts share: a tenant whose service is a real provider, and its people. */
import assert from "node:assert/strict";
import { TRPCError } from "@trpc/server";
import { eq } from "drizzle-orm";
import { oauthFlows, userPlatformBindings } from "../../db/schema/platforms.ts";
import { auditEntries, events } from "../../db/schema/trail.ts";
import { asSystem, read } from "../../src/context.ts";
import { Fault } from "../../src/errors.ts";
import { type Person, world, type WorldOptions } from "../kit.ts";
import { oidcProvider } from "../stand_ins/oidc_provider.ts";

export type House = Awaited<ReturnType<typeof house>>;
type Settings = NonNullable<Parameters<typeof oidcProvider>[0]>;
type World = Awaited<ReturnType<typeof world>>;

export const clientSecret = "a+secret/with:signs";
/** A redirect URI that is not ours. */
export const elsewhere = "https://app.example/back";

/** A world with a provider beside it. */
export async function house(options: WorldOptions & { provider?: Settings } = {}) {
  const all = await world(options);
  const provider = await oidcProvider(options.provider);
  const close = async () => {
    await provider.stop();
    await all.close();
  };
  return { ...all, provider, [Symbol.asyncDispose]: close };
}

export const scopes = ["openid", "offline_access", "email", "calls:read"];

/** A tenant that has registered the provider as a service under a name of its own. */
export async function tenantWith(
  { as, operator, tenant, env, provider }: Pick<
    House,
    "as" | "operator" | "tenant" | "env" | "provider"
  >,
  more: Partial<Parameters<ReturnType<World["as"]>["platforms"]["catalogue"]["create"]>[0]> = {},
) {
  const made = await tenant();
  const callback = `${env.PUBLIC_URL}/api/v1/oauth/callback`;
  const clientId = crypto.randomUUID();
  provider.addClient({ clientId, clientSecret, redirectUris: [callback, elsewhere] });
  const { platform } = await as(operator).platforms.catalogue.create({
    name: `Provider ${clientId}`,
    serviceType: "email",
    authUrl: provider.authorizationEndpoint,
    tokenUrl: provider.tokenEndpoint,
    userinfoUrl: provider.userinfoEndpoint,
    revocationUrl: provider.revocationEndpoint,
    apiHosts: [new URL(provider.apiUrl).origin],
    defaultScopes: scopes,
    quirks: { authorizationParams: { prompt: "consent" } },
    ...more,
  });
  const { platform: service } = await as(made.admin).platforms.services.register({
    serviceName: platform.name,
    config: { clientId, clientSecret },
  });
  return { ...made, platform, service, clientId, callback };
}
export type Tenant = Awaited<ReturnType<typeof tenantWith>>;

/** Starts, visits the provider, lands at our callback. Answers the flow's id. */
export async function visit(
  at: Pick<House, "as" | "request" | "provider">,
  person: Person,
  tenant: Tenant,
  account = "milo",
) {
  const started = await at.as(person).platforms.connections.start({
    platformId: tenant.platform.id,
  });
  const back = await at.provider.authorize(started.authorizationUrl, { account });
  const landed = await at.request(back.pathname + back.search);
  assert.equal(landed.status, 200, await landed.text());
  return started.id;
}

/** Connects an account of `person` and answers the binding. */
export async function connect(
  at: Pick<House, "as" | "request" | "provider">,
  person: Person,
  tenant: Tenant,
  account = "milo",
) {
  const id = await visit(at, person, tenant, account);
  return await at.as(person).platforms.connections.complete({ id });
}

/** The Fault a promise rejects with, `reason` and all. */
export async function refusal(work: Promise<unknown>): Promise<Fault> {
  try {
    await work;
  } catch (error) {
    if (error instanceof Fault) return error;
    if (error instanceof TRPCError && error.cause instanceof Fault) return error.cause;
    throw error;
  }
  throw new Error("It was not refused");
}

/** What the trail of a tenant says, oldest first: the audit entries' actions, and the events'. */
export async function trailOf({ process }: Pick<House, "process">, tenantId: string) {
  return await read(asSystem(process, tenantId), async ({ db }) => {
    const entries = await db.select().from(auditEntries)
      .where(eq(auditEntries.tenantId, tenantId)).orderBy(auditEntries.id);
    const told = await db.select().from(events)
      .where(eq(events.tenantId, tenantId)).orderBy(events.id);
    return { entries, events: told, text: JSON.stringify([entries, told]) };
  });
}

export const count = <T>(list: T[], is: (one: T) => boolean) => list.filter(is).length;

/** A binding's row with its ciphertexts. */
export async function rowOf({ process }: Pick<House, "process">, tenantId: string, id: string) {
  const [row] = await read(
    asSystem(process, tenantId),
    ({ db }) => db.select().from(userPlatformBindings).where(eq(userPlatformBindings.id, id)),
  );
  assert.ok(row);
  return row;
}

/** One try to connect an account, as the database has it. */
export async function flowOf({ process }: Pick<House, "process">, tenantId: string, id: string) {
  const [flow] = await read(
    asSystem(process, tenantId),
    ({ db }) => db.select().from(oauthFlows).where(eq(oauthFlows.id, id)),
  );
  assert.ok(flow);
  return flow;
}

export const inMinutes = (minutes: number) => new Date(Date.now() + minutes * 60_000);
