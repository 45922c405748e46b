/**
 * One good call of every procedure. A test that walks all procedures takes its inputs from here, so
 * a procedure without an entry turns those tests red: add it here, in a line or two.
 */
import { settled } from "../../src/teams/admission.ts";
import { access } from "./examples/access.ts";
import { auth } from "./examples/auth.ts";
import { channels } from "./examples/channels.ts";
import { chat } from "./examples/chat.ts";
import { groups } from "./examples/groups.ts";
import { keys } from "./examples/keys.ts";
import { people } from "./examples/people.ts";
import { type Example, fresh, type Make, secret } from "./examples/shape.ts";
import { settings } from "./examples/settings.ts";
import { sso } from "./examples/sso.ts";
import { teams } from "./examples/teams.ts";
import { tenants } from "./examples/tenants.ts";
import { usage } from "./examples/usage.ts";
import { type House, platform, type Side } from "./house.ts";

export type { Example };

/** Both sides use the same platforms, in the same order: what they share must not join them. */
const shared = new WeakMap<House, { made: Platform[]; used: Map<string, number> }>();
type Platform = Awaited<ReturnType<typeof platform>>;

async function nextPlatform(house: House, { tenantId }: Side): Promise<Platform> {
  const pool = shared.get(house) ?? { made: [], used: new Map<string, number>() };
  shared.set(house, pool);
  const place = pool.used.get(tenantId) ?? 0;
  pool.used.set(tenantId, place + 1);
  return pool.made[place] ??= await platform(house);
}

async function registered(house: House, side: Side) {
  const { name, id: platformId } = await nextPlatform(house, side);
  const { platform: made } = await house.w.as(side.boss).platforms.services.register({
    serviceName: name,
    config: { clientId: `client-${fresh()}`, clientSecret: secret(), additionalData: { a: 1 } },
  });
  return { ...made, platformId };
}

async function credential(house: House, side: Side) {
  const { name } = await nextPlatform(house, side);
  return await house.w.as(side.boss).platforms.credentials.create({
    serviceName: name,
    clientId: `client-${fresh()}`,
    clientSecret: secret(),
  });
}

/** Somebody was sent to a provider and came back with a code. */
async function authorized(house: House, side: Side) {
  const { serviceName } = await registered(house, side);
  const started = await house.w.as(side.boss).platforms.connections.start({ serviceName });
  const state = new URL(started.authorizationUrl).searchParams.get("state") ?? "";
  const code = `code-${crypto.randomUUID()}`;
  const query = new URLSearchParams({ state, code });
  const back = await house.w.request(`/api/v1/oauth/callback?${query}`);
  if (!back.ok) throw new Error(`The callback answered ${back.status}: ${await back.text()}`);
  await back.body?.cancel();
  return { id: started.id, secrets: [state, code] };
}

export async function connected(house: House, side: Side) {
  const { id } = await authorized(house, side);
  return await house.w.as(side.boss).platforms.connections.complete({ id });
}

const bindings: Record<string, Make> = {
  "platforms.connections.start": async (...at) => ({
    input: { serviceName: (await registered(...at)).serviceName, scopes: ["mail.read"] },
  }),
  "platforms.connections.complete": async (...at) => {
    const { id, secrets } = await authorized(...at);
    return { input: { id }, secrets };
  },
  "platforms.bindings.get": async (...at) => ({ input: { id: (await connected(...at)).id } }),
  "platforms.bindings.accessToken": async (...at) => ({
    input: { id: (await connected(...at)).id },
  }),
  "platforms.bindings.update": async (...at) => ({
    input: { id: (await connected(...at)).id, metadata: { color: fresh() } },
  }),
  "platforms.bindings.revoke": async (...at) => ({ input: { id: (await connected(...at)).id } }),
  "platforms.bindings.list": async (...at) => ({
    input: { platformId: (await connected(...at)).platformId, limit: 5 },
  }),
};

const catalogue: Record<string, Make> = {
  "platforms.catalogue.create": ({ w }) => ({
    input: { name: `Post ${fresh()}`, serviceType: "email", metadata: { region: "eu" } },
    as: w.operator,
  }),
  "platforms.catalogue.get": async (house) => ({ input: { id: (await platform(house)).id } }),
  "platforms.catalogue.update": async (house) => ({
    input: { id: (await platform(house)).id, description: `About ${fresh()}` },
    as: house.w.operator,
  }),
  "platforms.catalogue.delete": async (house) => ({
    input: { id: (await platform(house)).id },
    as: house.w.operator,
  }),
  "platforms.catalogue.list": () => ({ input: { serviceType: "email", limit: 5 } }),
};

const services: Record<string, Make> = {
  "platforms.services.register": async (house) => {
    const clientSecret = secret();
    const config = { clientId: `client-${fresh()}`, clientSecret, tenantId: "directory" };
    return {
      input: { serviceName: (await platform(house)).name, config },
      secrets: [clientSecret],
    };
  },
  "platforms.services.get": async (...at) => ({ input: { id: (await registered(...at)).id } }),
  "platforms.services.update": async (...at) => {
    const { id } = await registered(...at);
    const clientSecret = secret();
    return { input: { id, config: { clientSecret } }, secrets: [clientSecret] };
  },
  "platforms.services.deactivate": async (...at) => ({
    input: { id: (await registered(...at)).id },
  }),
  "platforms.services.activate": async (house, side) => {
    const { id } = await registered(house, side);
    await house.w.as(side.boss).platforms.services.deactivate({ id });
    return { input: { id } };
  },
  "platforms.services.list": async (...at) => ({
    input: { serviceName: (await registered(...at)).serviceName, limit: 5 },
  }),
};

const credentials: Record<string, Make> = {
  "platforms.credentials.create": async (house, side) => {
    const clientSecret = secret();
    const { name } = await nextPlatform(house, side);
    const input = {
      serviceName: name,
      clientId: `client-${fresh()}`,
      clientSecret,
      name: "second",
      ownerUserId: side.boss.userId,
    };
    return { input, secrets: [clientSecret] };
  },
  "platforms.credentials.get": async (...at) => ({ input: { id: (await credential(...at)).id } }),
  "platforms.credentials.update": async (...at) => {
    const clientSecret = secret();
    const { id } = await credential(...at);
    return { input: { id, clientSecret, name: `third ${fresh()}` }, secrets: [clientSecret] };
  },
  "platforms.credentials.activate": async (...at) => ({
    input: { id: (await credential(...at)).id },
  }),
  "platforms.credentials.deactivate": async (house, side) => {
    const { id } = await credential(house, side);
    await house.w.as(side.boss).platforms.credentials.activate({ id });
    return { input: { id } };
  },
  "platforms.credentials.list": async (...at) => ({
    input: { platformId: (await credential(...at)).platformId, limit: 5 },
  }),
};

const trail: Record<string, Make> = {
  "audit.list": (_, { boss }) => ({ input: { actorId: boss.userId, limit: 5 } }),
  "events.list": () => ({ input: { type: "user.created", limit: 5 } }),
};

export const examples: Readonly<Record<string, Make>> = {
  ...catalogue,
  ...services,
  ...credentials,
  ...bindings,
  ...auth,
  ...keys,
  ...tenants,
  ...people,
  ...groups,
  ...access,
  ...sso,
  ...teams,
  ...settings,
  ...chat,
  ...channels,
  ...trail,
  ...usage,
};

/** The example of a procedure; says what to do where there is none. */
export async function example(house: House, side: Side, path: string): Promise<Required<Example>> {
  const make = examples[path];
  if (!make) {
    throw new Error(`${path} is new: add one good call of it to tests/contract/examples.ts`);
  }
  const { input, as = side.boss, secrets = [] } = await make(house, side);
  await settled(house.w.process); // What was said for it is written a moment later.
  return { input, as, secrets };
}
