/** The document other people generate clients from: it must be sound as it is served. */
import assert from "node:assert/strict";
import { openApi } from "../../routers/about.ts";
import { lint } from "./lint.ts";

/**
 * What is not an API for tenants: no credentials are asked for and nothing is counted, or the answer
 * is the provider's own. Spectral's rules for authenticated, limited operations do not fit these.
 */
const notOurs: Record<string, string> = {
  "/health": "For probes: asks for nothing, is counted by nobody",
  "/ready": "For probes: asks for nothing, is counted by nobody",
  "/.well-known/jwks.json": "Public keys, cached by everyone",
  "/api/v1/oauth/callback": "A browser comes here from the provider, without credentials of ours",
  "/api/v1/auth/sso/callback":
    "A browser comes here from the provider, without credentials of ours",
  "/v1/channels/{id}/updates": "A platform sends here, with a secret and no credential of ours",
  "/v1/models": "It takes nothing that could be wrong",
  "/v1/models/{model}": "A name the team may not use is not there, however it is written",
  "/api/v1/bindings/{id}/proxy/{host}/{path}": "Answers are the provider's, whatever they are",
};
const forAuthenticated = [
  "owasp:api8:2023-define-error-responses-401",
  "owasp:api8:2023-define-error-validation",
  "owasp:api4:2023-rate-limit",
];

Deno.test("the OpenAPI document lints clean with Spectral's and OWASP's rules", async () => {
  const findings = (await lint(openApi("https://api.switchboard.dev"))).filter((finding) => {
    const rule = forAuthenticated.find((rule) => finding.startsWith(rule));
    return !(rule && Object.keys(notOurs).some((path) => finding.includes(` paths/${path}/`)));
  });
  assert.deepEqual(findings, []);
});

const { paths } = openApi("https://api.switchboard.dev");
type Operation = { path: string; method: string; name: string; statuses: string[]; text: string };
const operations = Object.entries(paths).flatMap(([path, item]) =>
  Object.entries(item).map(([method, operation]): Operation => {
    const { operationId: name, responses } = Object(operation);
    const text = JSON.stringify(operation);
    return { path, method, name, statuses: Object.keys(responses), text };
  })
);
const namesWith = (is: (operation: Operation) => boolean) =>
  operations.filter(is).map(({ name }) => name).toSorted();
const lists = (name: string) => ({ text }: Operation) => text.includes(`/parameters/${name}"`);

Deno.test("the OpenAPI document says which operations a provider can fail", () => {
  const proxied = ["delete", "get", "patch", "post", "put"]
    .map((method) => `platforms.bindings.proxy.${method}`);
  const gateway = ["teams.gateway.chatCompletions", "teams.gateway.embeddings"];
  const signingIn = [
    "identity.identityProviders.test",
    "identity.sso.complete",
    "identity.sso.start",
  ];
  assert.deepEqual(namesWith(({ statuses }) => statuses.includes("502")), [
    "chat.send",
    ...signingIn,
    "platforms.bindings.accessToken",
    ...proxied,
    "platforms.connections.complete",
    "teams.channels.connect",
    ...gateway,
  ]);
  assert.deepEqual(namesWith(({ statuses }) => statuses.includes("504")), [
    "chat.send",
    ...signingIn,
    ...proxied,
    "platforms.connections.complete",
    ...gateway,
  ]);
  for (const { name, statuses } of operations) {
    if ([...proxied, ...gateway].includes(name)) assert.ok(statuses.includes("413"), name);
  }
});

Deno.test("the OpenAPI document offers an Idempotency-Key only where one is heeded", () => {
  const without = [
    "identity.auth.signIn",
    "identity.auth.refresh",
    "platforms.bindings.accessToken",
  ];
  const keyed = namesWith(lists("IdempotencyKey"));
  assert.ok(keyed.includes("platforms.bindings.revoke"));
  assert.deepEqual(without.filter((name) => keyed.includes(name)), []);
  // The gateway passes on what an upstream could not process.
  const ours = ({ name, statuses }: Operation) =>
    statuses.includes("422") && !name.startsWith("teams.gateway.");
  assert.deepEqual(namesWith(ours), keyed);
});

Deno.test("the OpenAPI document offers If-Match for changes of what the path names alone", () => {
  const noun = (name: string, ...verbs: string[]) => verbs.map((verb) => `${name}.${verb}`);
  assert.deepEqual(namesWith(lists("IfMatch")), [
    ...noun("identity.apiKeys", "revoke", "rotate", "update"),
    "identity.clientAccess.delete",
    ...noun("identity.domains", "delete", "verify"),
    "identity.foreignIdTypes.delete",
    "identity.groupMembers.remove",
    ...noun("identity.groups", "delete", "update"),
    ...noun("identity.identityProviders", "activate", "delete", "update"),
    ...noun("identity.invitations", "resend", "revoke"),
    "identity.roleBindings.revoke",
    ...noun("identity.roles", "delete", "update"),
    ...noun("identity.tenantAddresses", "delete", "update"),
    ...noun("identity.tenants", "activate", "close", "move", "suspend", "update"),
    ...noun("identity.users", "activate", "deactivate", "update"),
    ...noun("platforms.bindings", "revoke", "update"),
    ...noun("platforms.catalogue", "delete", "update"),
    ...noun("platforms.credentials", "activate", "deactivate", "update"),
    ...noun("platforms.services", "activate", "deactivate", "update"),
    ...noun("teams.channels", "connect", "deactivate", "rotateSecret", "update"),
    "teams.modelPrices.delete",
    "teams.platformConfigs.update",
    ...noun("teams.teamKeys", "revoke", "rotate"),
    ...["activate", "deactivate", "update"].flatMap((verb) => [
      `teams.teams.${verb}`,
      `teams.teams.${verb}.admin`,
    ]),
    ...noun("teams.upstreams", "deactivate", "update"),
  ]);
});

Deno.test("the OpenAPI document names no limit where nobody counts", () => {
  for (const name of ["health", "ready", "jwks"]) {
    const operation = operations.find((operation) => operation.name === name);
    assert.ok(operation && !operation.statuses.includes("429"), name);
  }
});

Deno.test("the OpenAPI document gives the gateway's refusals OpenAI's shape, and no others", () => {
  const inTheirs = operations.filter(({ text }) => text.includes("/responses/OpenAi"));
  assert.deepEqual(
    inTheirs.map(({ path }) => path).toSorted(),
    ["/v1/chat/completions", "/v1/embeddings", "/v1/models", "/v1/models/{model}"],
  );
  for (const { name, text } of inTheirs) {
    assert.ok(!/\/responses\/(?!OpenAi)/.test(text), `${name} answers a problem document`);
  }
});
