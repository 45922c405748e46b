/** Service platforms: what a tenant has switched on, as S1 writes it and people use it. */
import assert from "node:assert/strict";
import { world } from "../kit.ts";

let w: Awaited<ReturnType<typeof world>>;
Deno.test.beforeAll(async () => void (w = await world()));
Deno.test.afterAll(() => w.close());

const secret = { clientId: "app-1", clientSecret: "a real secret" };
const post = (body: unknown) => ({ method: "POST", body: JSON.stringify(body) });

async function stage(name: string) {
  const { platform } = await w.as(w.operator).platforms.catalogue.create({
    name,
    serviceType: "email",
    authUrl: "https://id.example/authorize",
    tokenUrl: "https://id.example/token",
  });
  return { platform, ...await w.tenant() };
}

Deno.test("services.register works again for a platform that was deleted and made anew", async () => {
  const { platform, admin } = await stage("Griffin");
  const { services, catalogue } = w.as(admin).platforms;
  const first = await services.register({ serviceName: "Griffin", config: secret });
  await services.deactivate({ id: first.platform.id });
  await w.as(w.operator).platforms.catalogue.delete({ id: platform.id });
  await w.as(w.operator).platforms.catalogue.create({ name: "Griffin", serviceType: "email" });
  const second = await services.register({ serviceName: "Griffin", config: secret });
  assert.equal(second.platform.isActive, true);
  assert.notEqual(second.platform.id, first.platform.id);
  assert.ok((await catalogue.list({})).platforms.length > 0);
});

Deno.test("services.update keeps what else was set up when the client id changes", async () => {
  const { admin, tenantId } = await stage("Harpy");
  const { services, credentials } = w.as(admin).platforms;
  const { platform: { id } } = await services.register({ serviceName: "Harpy", config: secret });
  const [before] = (await credentials.list({ isActive: true })).credentials;
  assert.ok(before);
  const redirectUris = ["https://app.example/cb"];
  await credentials.update({
    id: before.id,
    redirectUris,
    scopes: ["mail"],
    authUrl: "https://mine.example/auth",
  });
  await services.update({ id, tenantId, config: { clientId: "app-2", clientSecret: "another" } });
  const [after] = (await credentials.list({ isActive: true })).credentials;
  assert.notEqual(after?.id, before.id);
  assert.deepEqual([after?.redirectUris, after?.scopes, after?.authUrl], [
    redirectUris,
    ["mail"],
    "https://mine.example/auth",
  ]);
});

Deno.test("services.update tells in its event what changed, a secret by its fingerprint", async () => {
  const { admin } = await stage("Kelpie");
  const { services } = w.as(admin).platforms;
  const { platform: { id } } = await services.register({ serviceName: "Kelpie", config: secret });
  await services.update({ id, config: { clientSecret: "a newer secret" } });
  const [event] = (await w.as(admin).events.list({ type: "platform.updated" })).events;
  const changes = Object(event?.data.changes);
  assert.deepEqual(Object.keys(changes), ["client_secret"]);
  assert.match(changes.client_secret, /^fp:[0-9a-f]{12}$/);
});

Deno.test("services.register refuses the mask as a secret, and update leaves the secret at it", async () => {
  const { admin } = await stage("Sphinx");
  const { services, credentials } = w.as(admin).platforms;
  const masked = { clientId: "app-1", clientSecret: "********" };
  await assert.rejects(services.register({ serviceName: "Sphinx", config: masked }));
  const { platform: { id } } = await services.register({ serviceName: "Sphinx", config: secret });
  const [before] = (await credentials.list({})).credentials;
  await services.update({ id, config: masked });
  const [after] = (await credentials.list({})).credentials;
  assert.equal(after?.secretFingerprint, before?.secretFingerprint);
});

Deno.test("services.list finds a service by its name in any case", async () => {
  const { admin } = await stage("Phoenix");
  const { services } = w.as(admin).platforms;
  await services.register({ serviceName: "PHOENIX", config: secret });
  assert.equal((await services.list({ serviceName: "phoenix" })).platforms.length, 1);
});

Deno.test("services take S1's tenant_id everywhere and know no tenant but the token's", async () => {
  const { admin, tenantId } = await stage("Wyvern");
  const other = await w.tenant("Nordwind");
  const { platform: { id } } = await w.as(admin).platforms.services.register({
    serviceName: "Wyvern",
    config: secret,
  });
  const path = `/api/v1/service-platforms/${id}`;
  for (const [tenant, status] of [[tenantId, 200], [other.tenantId, 404]] as const) {
    const asked = [
      [`${path}?tenant_id=${tenant}`, {}],
      [path, { ...post({ tenant_id: tenant, config: {} }), method: "PUT" }],
      [`${path}/deactivate`, post({ tenant_id: tenant })],
      [`${path}/activate?tenant_id=${tenant}`, post({})],
    ] as const;
    for (const [url, init] of asked) {
      const answer = await w.request(url, init, admin);
      assert.equal(answer.status, status, `${url} ${await answer.text()}`);
    }
  }
});

Deno.test("services actions heed If-Match", async () => {
  const { admin } = await stage("Chimera");
  const { services } = w.as(admin).platforms;
  const { platform: { id } } = await services.register({ serviceName: "Chimera", config: secret });
  const path = `/api/v1/service-platforms/${id}`;
  const etag = (await w.request(path, {}, admin)).headers.get("etag") ?? "";
  const turn = async (ifMatch: string) =>
    (await w.request(
      `${path}/deactivate`,
      { ...post({}), headers: { "if-match": ifMatch } },
      admin,
    ))
      .status;
  assert.deepEqual([await turn('"stale"'), await turn(etag)], [412, 200]);
});

Deno.test("REST tells how a field is spelled when it comes in camelCase", async () => {
  const { admin } = await stage("Naiad");
  const body = { serviceName: "Naiad", config: { clientId: "a", client_secret: "b" } };
  const answer = await w.request("/api/v1/service-platforms", post(body), admin);
  const { errors } = await answer.json();
  const told = JSON.stringify(errors);
  assert.equal(answer.status, 400);
  assert.match(told, /it is spelled `service_name`/);
  assert.match(told, /it is spelled `client_id`/);
});

Deno.test("a platform's quirks go in and out under the same names", async () => {
  const { platform } = await stage("Dryad");
  const path = `/api/v1/platforms/${platform.id}`;
  const quirks = { token_auth_method: "client_secret_post", authorization_params: { a_bC: "x" } };
  const put = { ...post({ quirks }), method: "PUT" };
  const answer = await w.request(path, put, w.operator);
  assert.deepEqual((await answer.json()).quirks, quirks);
  const again = await w.request(path, { ...put, body: JSON.stringify({ quirks }) }, w.operator);
  assert.equal(again.status, 200);
});

Deno.test("a token that does not hold is told apart from none", async () => {
  const reason = async (headers: Record<string, string>) => {
    const answer = await w.request("/api/v1/platforms", { headers });
    return [(await answer.json()).reason, answer.headers.get("www-authenticate")];
  };
  assert.deepEqual(await reason({}), ["principal.missing", "Bearer"]);
  assert.deepEqual(await reason({ authorization: "Bearer nonsense" }), [
    "principal.refused",
    'Bearer error="invalid_token"',
  ]);
});
