/** The chapters of the walk-through: each does one part of the main job and shows what was answered. */
import { type Client, refusalOf, signIn } from "../src/client.ts";
import { type OidcProvider, oidcProvider } from "../tests/stand_ins/oidc_provider.ts";
import { type Narrator, NotAsSaid } from "./narrator.ts";
import type { DemoWorld } from "./seed.ts";

export type Person = {
  client: Client;
  call: (path: string, init?: RequestInit) => Promise<Response>;
};
type Company = DemoWorld["tenants"][number];
type Story = {
  told: Narrator;
  url: string;
  ours: Company;
  theirs: Company;
  provider: OidcProvider;
  name: string;
  callback: string;
  oauthClient: { clientId: string; clientSecret: string };
  operator: Person;
  admin: Person;
  member: Person;
};

/** A signed-in person, over the typed client and over plain HTTP. */
export async function personOf(
  url: string,
  who: { email: string; password: string },
): Promise<Person> {
  const client = await signIn(url, who);
  const call = (path: string, init: RequestInit = {}) => {
    const headers = new Headers(init.headers);
    headers.set("authorization", `Bearer ${client.session()?.accessToken}`);
    if (init.body) headers.set("content-type", "application/json");
    return fetch(`${url}${path}`, { ...init, headers });
  };
  return { client, call };
}

const ANSWERED = "it was answered";

export async function reasonOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return ANSWERED;
  } catch (error) {
    return refusalOf(error)?.reason ?? String(error);
  }
}

async function addPlatform({ told, provider, name, operator }: Story): Promise<string> {
  told.chapter("An operator adds a platform to the catalogue");
  told.tell(
    `A local OAuth provider runs at ${provider.issuer}; it ends a connection when a refresh token is used twice.`,
  );
  const { catalogue } = operator.client.trpc.platforms;
  const { platform } = await catalogue.create.mutate({
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
  told.check(`${name} is in the catalogue`, platform.isActive, { id: platform.id });
  const twice = await reasonOf(catalogue.create.mutate({ name, serviceType: "email" }));
  told.check(
    "A second platform of that name is refused",
    twice === "platform.already_exists",
    twice,
  );
  return platform.id;
}

async function registerService({ told, ours, name, oauthClient, admin }: Story): Promise<string> {
  told.chapter(`${ours.name} registers it as a service`);
  const body = JSON.stringify({
    tenant_id: ours.id,
    service_name: name,
    config: {
      client_id: oauthClient.clientId,
      client_secret: oauthClient.clientSecret,
      tenant_id: null,
      additional_data: null,
    },
  });
  const post = { method: "POST", body, headers: { "idempotency-key": crypto.randomUUID() } };
  const registered = await admin.call("/api/v1/service-platforms", post);
  const service = await registered.json();
  told.check("POST /api/v1/service-platforms answers 201", registered.status === 201, service);
  const isMasked = !JSON.stringify(service).includes(oauthClient.clientSecret);
  told.check("The secret is masked in the answer", isMasked, service.platform?.config);
  const again = await admin.call("/api/v1/service-platforms", post);
  const same = (await again.json()).platform?.id === service.platform.id;
  told.check("The same Idempotency-Key answers the same again", again.status === 201 && same);
  return service.platform.id;
}

async function connectAccount(story: Story): Promise<string> {
  const { told, name, callback, provider, admin, member } = story;
  told.chapter("A person connects an account: authorization code + PKCE");
  const { connections } = member.client.trpc.platforms;
  const { id, authorizationUrl } = await connections.start.mutate({ serviceName: name });
  told.tell("The person is sent to the provider", authorizationUrl);
  const asked = new URL(authorizationUrl).searchParams;
  told.check(
    "The request carries PKCE and a state",
    asked.get("code_challenge_method") === "S256" && asked.has("state"),
  );
  const back = await provider.authorize(authorizationUrl, { account: "milo" });
  told.check(
    "The provider sends them back to our callback",
    back.href.startsWith(callback),
    back.pathname,
  );
  const statusOf = async () => {
    const answer = await fetch(back);
    await answer.body?.cancel();
    return answer.status;
  };
  told.check("The callback stores the code, and no more", await statusOf() === 200);
  told.check("The state works once", await statusOf() === 400);
  const stolen = await reasonOf(admin.client.trpc.platforms.connections.complete.mutate({ id }));
  told.check("Nobody else can finish it", stolen === "connection.not_found", stolen);
  const binding = await connections.complete.mutate({ id });
  const { externalUserId, scopes, state } = binding;
  told.check("The account is connected", state === "active", { externalUserId, scopes });
  return binding.id;
}

async function callThrough({ told, provider, member }: Story, bindingId: string) {
  told.chapter("The provider is called with the person's token, which they never see");
  const proxy = `/api/v1/bindings/${bindingId}/proxy`;
  const answer = await member.call(`${proxy}/${new URL(provider.apiUrl).host}/api/mail?top=3`);
  const { account, path, query, ...rest } = await answer.json();
  const isTheirs = answer.status === 200 && account === "milo";
  told.check("The provider's own API answers", isTheirs, {
    account,
    path,
    query,
    ...(isTheirs ? {} : rest),
  });
  const elsewhere = await member.call(`${proxy}/evil.example/api/mail`);
  const { detail } = await elsewhere.json();
  const isRefused = elsewhere.status >= 400 && elsewhere.status < 500;
  told.check("Another host is refused", isRefused, detail);
}

async function refreshOnce({ told, provider, member }: Story, id: string): Promise<string[]> {
  told.chapter("Fifty requests at expiry, one refresh");
  await new Promise((resolve) => setTimeout(resolve, 3_200));
  provider.settings.accessTokenSeconds = 60; // However long it takes to ask fifty times.
  provider.resetCounts();
  const { accessToken } = member.client.trpc.platforms.bindings;
  const answers = await Promise.all(Array.from({ length: 50 }, () => accessToken.mutate({ id })));
  const tokens = answers.map((answer) => answer.accessToken);
  const { refreshRequests, reuses } = provider.counts;
  told.check("Fifty callers have a token", tokens.length === 50 && tokens.every(Boolean));
  told.check("All fifty have the same", new Set(tokens).size === 1);
  told.check("The provider saw one refresh", refreshRequests === 1, { refreshRequests });
  told.check("No refresh token was used twice", reuses === 0, { reuses });
  return tokens;
}

async function readTrail({ told, admin, oauthClient }: Story, tokens: string[]) {
  told.chapter("What happened is written down");
  const { auditEntries } = await admin.client.trpc.audit.list.query({ limit: 100 });
  for (const action of ["platform.registered", "binding.refreshed"]) {
    const entry = auditEntries.find((entry) => entry.action === action);
    told.check(`The audit trail has ${action}, with its diff`, entry !== undefined, entry?.diff);
  }
  const { events } = await admin.client.trpc.events.list.query({ limit: 100 });
  const types = [...new Set(events.map(({ type }) => type))];
  const wanted = ["platform.registered", "binding.connected", "binding.refreshed"];
  told.check(
    "And the events other services are told of",
    wanted.every((t) => types.includes(t)),
    types,
  );
  const trail = JSON.stringify([auditEntries, events]);
  const isClean = [oauthClient.clientSecret, ...tokens].every((secret) => !trail.includes(secret));
  told.check("No secret is in either", isClean);
}

async function lookFromOutside({ told, url, theirs, name }: Story, paths: string[]) {
  told.chapter(`${theirs.name} sees none of it`);
  const stranger = await personOf(url, theirs.admin);
  const { platforms } = await stranger.client.trpc.platforms.services.list.query({
    serviceName: name,
  });
  told.check("Their list of services does not have it", platforms.length === 0);
  for (const path of paths) {
    const { status, body } = await stranger.call(`/api/v1/${path}`);
    await body?.cancel();
    told.check(`GET /api/v1/${path.split("/")[0]}/… answers 404`, status === 404);
  }
  const { auditEntries } = await stranger.client.trpc.audit.list.query({ limit: 100 });
  const isOwn = auditEntries.every((entry) => entry.tenantId === theirs.id);
  told.check("Their audit trail is theirs alone", isOwn);
}

async function switchOff({ told, name, admin, member }: Story, id: string, bindingId: string) {
  told.chapter("Deactivating the service takes it out of use");
  const { services } = admin.client.trpc.platforms;
  const off = await services.deactivate.mutate({ id });
  told.check("It is deactivated", !off.platform.isActive, off.message);
  const active = await services.list.query({ isActive: true });
  told.check("It is not among the active services", active.platforms.every((p) => p.id !== id));
  const { connections, bindings } = member.client.trpc.platforms;
  const connect = await reasonOf(connections.start.mutate({ serviceName: name }));
  told.check("Nobody can connect to it", connect !== ANSWERED, connect);
  const token = await reasonOf(bindings.accessToken.mutate({ id: bindingId }));
  told.check("No token is handed out", token === "service_platform.inactive", token);
}

/** The main job from end to end. Throws NotAsSaid at the first step that is not as said. */
export async function walk(world: DemoWorld, told: Narrator): Promise<void> {
  const [ours, theirs] = world.tenants;
  if (!ours || !theirs) throw new NotAsSaid("demo.json names two companies");
  await using provider = await oidcProvider({ accessTokenSeconds: 3, rotate: true });
  const { url } = world;
  const callback = `${url}/api/v1/oauth/callback`;
  const oauthClient = { clientId: "demo", clientSecret: crypto.randomUUID() };
  provider.addClient({ ...oauthClient, redirectUris: [callback] });
  const story: Story = {
    told,
    url,
    ours,
    theirs,
    provider,
    callback,
    oauthClient,
    name: `Demo ID ${crypto.randomUUID().slice(0, 8)}`,
    operator: await personOf(url, world.operator),
    admin: await personOf(url, ours.admin),
    member: await personOf(url, ours.member),
  };
  const platformId = await addPlatform(story);
  const serviceId = await registerService(story);
  const bindingId = await connectAccount(story);
  await callThrough(story, bindingId);
  const tokens = await refreshOnce(story, bindingId);
  await readTrail(story, tokens);
  await lookFromOutside(story, [`service-platforms/${serviceId}`, `bindings/${bindingId}`]);
  await switchOff(story, serviceId, bindingId);
  await story.member.client.trpc.platforms.bindings.revoke.mutate({ id: bindingId });
  await story.operator.client.trpc.platforms.catalogue.delete.mutate({ id: platformId });
  told.tell("The account is disconnected and the platform taken out of the catalogue again.");
}
