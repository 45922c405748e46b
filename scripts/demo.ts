/** Walks through the main job with real answers: against the running service, or one it starts. */
import { type Client, refusalOf, signIn } from "../src/client.ts";
import { oidcProvider } from "../tests/stand_ins/oidc_provider.ts";
import { narrator, NotAsSaid } from "./narrator.ts";
import type { DemoWorld } from "./seed.ts";

const help = `deno task demo

Tells the main job step by step, with real answers: an operator adds a platform to the catalogue, a
company registers it, a person connects an account at a real OAuth provider (a local one), the service
keeps its token valid. Uses the service of DATA_DIR (.data) when it runs, else starts it for the
walk-through. Ends with an error when a step is not as said.`;

const folder = Deno.env.get("DATA_DIR") || ".data";
const told = narrator();
const { chapter, tell, check } = told;

async function runningWorld(): Promise<DemoWorld | null> {
  try {
    const world: DemoWorld = JSON.parse(await Deno.readTextFile(`${folder}/demo.json`));
    const health = await fetch(`${world.url}/health`, { signal: AbortSignal.timeout(2_000) });
    const answer = await health.json();
    return answer.status === "ok" ? world : null;
  } catch {
    return null;
  }
}

/** The running service's world, or that of one started here; `stop` ends only the latter. */
async function serviceWorld(): Promise<{ world: DemoWorld; stop: () => Promise<void> }> {
  const running = await runningWorld();
  if (running) return { world: running, stop: () => Promise.resolve() };
  tell("The service is not running: starting it, which takes a moment the first time …");
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", new URL("dev.ts", import.meta.url).pathname],
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  const stop = async () => {
    child.kill("SIGTERM");
    await child.status;
  };
  let ended = false;
  child.status.then(() => ended = true);
  for (let tries = 0; tries < 600 && !ended; tries++) {
    const world = await runningWorld();
    if (world) return { world, stop };
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  if (!ended) await stop();
  throw new NotAsSaid("The service did not start: run deno task dev to see why");
}

type Person = { client: Client; call: (path: string, init?: RequestInit) => Promise<Response> };

/** A signed-in person, over the typed client and over plain HTTP. */
async function personOf(url: string, who: { email: string; password: string }): Promise<Person> {
  const client = await signIn(url, who);
  const call = (path: string, init: RequestInit = {}) => {
    const headers = new Headers(init.headers);
    headers.set("authorization", `Bearer ${client.session()?.accessToken}`);
    if (init.body) headers.set("content-type", "application/json");
    return fetch(`${url}${path}`, { ...init, headers });
  };
  return { client, call };
}

async function reasonOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "it was answered";
  } catch (error) {
    return refusalOf(error)?.reason ?? String(error);
  }
}

async function walk(world: DemoWorld) {
  const [ours, theirs] = world.tenants;
  if (!ours || !theirs) throw new NotAsSaid("demo.json names two companies");
  await using provider = await oidcProvider({ accessTokenSeconds: 3, rotate: true });
  const callback = `${world.url}/api/v1/oauth/callback`;
  const client = { clientId: "demo", clientSecret: crypto.randomUUID(), redirectUris: [callback] };
  provider.addClient(client);
  const name = `Demo ID ${crypto.randomUUID().slice(0, 8)}`;

  chapter("An operator adds a platform to the catalogue");
  const operator = await personOf(world.url, world.operator);
  tell(`A local OAuth provider runs at ${provider.issuer}; it revokes everything when a refresh token is used twice.`);
  const { platform } = await operator.client.trpc.platforms.catalogue.create.mutate({
    name,
    serviceType: "email",
    description: "The identity provider of this walk-through",
    authUrl: provider.authorizationEndpoint,
    tokenUrl: provider.tokenEndpoint,
    userinfoUrl: provider.userinfoEndpoint,
    revocationUrl: provider.revocationEndpoint,
    apiHosts: [new URL(provider.apiUrl).origin],
    defaultScopes: ["openid", "offline_access", "profile", "email", "calls:read", "calls:write"],
    quirks: { authorizationParams: { prompt: "consent" } },
  });
  check(`${name} is in the catalogue`, platform.isActive, { id: platform.id });
  const twice = await reasonOf(
    operator.client.trpc.platforms.catalogue.create.mutate({ name, serviceType: "email" }),
  );
  check("A second platform of that name is refused", twice === "platform.already_exists", twice);

  chapter(`${ours.name} registers it as a service`);
  const admin = await personOf(world.url, ours.admin);
  const body = JSON.stringify({
    tenant_id: ours.id,
    service_name: name,
    config: {
      client_id: client.clientId,
      client_secret: client.clientSecret,
      tenant_id: null,
      additional_data: null,
    },
  });
  const idempotency = { "idempotency-key": crypto.randomUUID() };
  const post = { method: "POST", body, headers: idempotency };
  const registered = await admin.call("/api/v1/service-platforms", post);
  const service = await registered.json();
  check("POST /api/v1/service-platforms answers 201", registered.status === 201, service);
  check(
    "The secret is masked in the answer",
    !JSON.stringify(service).includes(client.clientSecret),
    service.platform?.config,
  );
  const again = await admin.call("/api/v1/service-platforms", post);
  const same = (await again.json()).platform?.id === service.platform.id;
  check("The same Idempotency-Key answers the same again", again.status === 201 && same);

  chapter("A person connects an account: authorization code + PKCE");
  const member = await personOf(world.url, ours.member);
  const started = await member.client.trpc.platforms.connections.start.mutate({ serviceName: name });
  tell("The person is sent to the provider", started.authorizationUrl);
  check(
    "The request carries PKCE and a state",
    /code_challenge_method=S256/.test(started.authorizationUrl) &&
      /[?&]state=/.test(started.authorizationUrl),
  );
  const back = await provider.authorize(started.authorizationUrl, { account: "milo" });
  check("The provider sends them back to our callback", back.href.startsWith(callback), back.pathname);
  const landed = await fetch(back);
  check("The callback stores the code, and no more", landed.status === 200);
  await landed.body?.cancel();
  const replayed = await fetch(back);
  check("The state works once", replayed.status === 400);
  await replayed.body?.cancel();
  const stolen = await reasonOf(
    admin.client.trpc.platforms.connections.complete.mutate({ id: started.id }),
  );
  check("Nobody else can finish it", stolen === "connection.not_found", stolen);
  const binding = await member.client.trpc.platforms.connections.complete.mutate({ id: started.id });
  check("The account is connected", binding.state === "active", {
    externalUserId: binding.externalUserId,
    scopes: binding.scopes,
  });

  chapter("The provider is called with the person's token, which they never see");
  const proxied = `/api/v1/bindings/${binding.id}/proxy/${new URL(provider.apiUrl).host}/api/mail?top=3`;
  const answer = await member.call(proxied);
  const seen = await answer.json();
  check("The provider's own API answers", answer.status === 200 && seen.account === "milo", {
    account: seen.account,
    path: seen.path,
    query: seen.query,
  });
  const elsewhere = await member.call(`/api/v1/bindings/${binding.id}/proxy/evil.example/api/mail`);
  const refusal = await elsewhere.json();
  check("Another host is refused", elsewhere.status >= 400 && elsewhere.status < 500, refusal.detail);

  chapter("Fifty requests at expiry, one refresh");
  await new Promise((resolve) => setTimeout(resolve, 3_200));
  provider.resetCounts();
  const tokens = await Promise.all(
    Array.from({ length: 50 }, () =>
      member.client.trpc.platforms.bindings.accessToken.mutate({ id: binding.id })),
  );
  const { refreshRequests, reuses } = provider.counts;
  check("Fifty callers have a token", tokens.every(({ accessToken }) => accessToken.length > 0));
  check("All fifty have the same", new Set(tokens.map(({ accessToken }) => accessToken)).size === 1);
  check("The provider saw one refresh", refreshRequests === 1, { refreshRequests });
  check("No token was used twice", reuses === 0, { reuses });

  chapter("What happened is written down");
  const { auditEntries } = await admin.client.trpc.audit.list.query({ limit: 100 });
  const entry = (action: string) => auditEntries.find((entry) => entry.action === action);
  const registration = entry("platform.registered");
  check("The registration, with a diff", registration !== undefined, registration?.diff);
  check("The refresh", entry("binding.refreshed") !== undefined, entry("binding.refreshed")?.diff);
  const { events } = await admin.client.trpc.events.list.query({ limit: 100 });
  const types = [...new Set(events.map(({ type }) => type))];
  const wanted = ["platform.registered", "binding.connected", "binding.refreshed"];
  check("And the events other services are told of", wanted.every((t) => types.includes(t)), types);
  const trail = JSON.stringify([auditEntries, events]);
  const secrets = [client.clientSecret, ...tokens.map(({ accessToken }) => accessToken)];
  check("No secret is in either", secrets.every((secret) => !trail.includes(secret)));

  chapter(`${theirs.name} sees none of it`);
  const stranger = await personOf(world.url, theirs.admin);
  const list = await stranger.client.trpc.platforms.services.list.query({ serviceName: name });
  check("Their list of services does not have it", list.platforms.length === 0);
  const paths = [`service-platforms/${service.platform.id}`, `bindings/${binding.id}`];
  for (const path of paths) {
    const { status, body } = await stranger.call(`/api/v1/${path}`);
    await body?.cancel();
    check(`GET /api/v1/${path.split("/")[0]}/… answers 404`, status === 404);
  }
  const theirTrail = await stranger.client.trpc.audit.list.query({ limit: 100 });
  const leak = theirTrail.auditEntries.some((entry) => entry.tenantId !== theirs.id);
  check("Their audit trail is theirs alone", !leak);

  chapter("Deactivating the service takes it out of use");
  const id = service.platform.id;
  const off = await admin.client.trpc.platforms.services.deactivate.mutate({ id });
  check("It is deactivated", !off.platform.isActive, off.message);
  const active = await admin.client.trpc.platforms.services.list.query({ isActive: true });
  check("It is not among the active services", active.platforms.every((p) => p.id !== id));
  const connect = await reasonOf(
    member.client.trpc.platforms.connections.start.mutate({ serviceName: name }),
  );
  check("Nobody can connect to it", connect !== "it was answered", connect);
  const token = await reasonOf(
    member.client.trpc.platforms.bindings.accessToken.mutate({ id: binding.id }),
  );
  check("No token is handed out", token === "service_platform.inactive", token);
  await member.client.trpc.platforms.bindings.revoke.mutate({ id: binding.id });
  await operator.client.trpc.platforms.catalogue.delete.mutate({ id: platform.id });
  tell("The account is disconnected and the platform taken out again.");
}

async function main() {
  const { world, stop } = await serviceWorld();
  try {
    tell(`The service listens on ${world.url}`);
    await walk(world);
    console.log(`\nAll as said: ${told.checks} checks.`);
  } finally {
    await stop();
  }
}

if (Deno.args.includes("--help")) console.log(help);
else {
  await main().catch((error: unknown) => {
    console.error(`\n${error instanceof NotAsSaid ? error.message : error}`);
    Deno.exit(1);
  });
}
