/** A registration's `config.tenant_id` is the Microsoft directory that its people sign in at. */
import assert from "node:assert/strict";
import { directoryUrl } from "../../src/platforms/directories.ts";
import { providers } from "../../src/platforms/providers.ts";
import { world } from "../kit.ts";

const host = "https://login.microsoftonline.com";

Deno.test("directoryUrl puts the directory in the place of a shared one, at Microsoft alone", () => {
  const common = `${host}/common/oauth2/v2.0/token`;
  assert.equal(directoryUrl(common, "contoso-id"), `${host}/contoso-id/oauth2/v2.0/token`);
  const teams = `${host}/organizations/oauth2/v2.0/token?a=/common/`;
  assert.equal(directoryUrl(teams, "a/b c?"), `${host}/a%2Fb%20c%3F/oauth2/v2.0/token?a=/common/`);
  const kept = [
    ...[`${host}/their-own/oauth2/common/token`, "https://provider.example/common/token"],
    ...[`${host}.evil.example/common/token`, `http://login.microsoftonline.com/common/token`],
  ];
  for (const url of kept) assert.equal(directoryUrl(url, "contoso-id"), url);
  for (const none of [null, ""]) assert.equal(directoryUrl(common, none), common);
  for (const dots of [".", ".."]) {
    assert.equal(directoryUrl(common, dots), common, `${dots} is no directory`);
  }
});

/** A tenant on Outlook or Teams, and every address the service asks. */
async function scene(name: string, directory: string | null) {
  const entry = providers.find((one) => one.name === name);
  assert.ok(entry);
  let now = Date.now();
  const w = await world({ now: () => new Date(now) });
  const asked: string[] = [];
  const token = () => ({ access_token: crypto.randomUUID(), refresh_token: crypto.randomUUID() });
  Object.assign(w.process, {
    outbound: (url: string | URL) => {
      asked.push(String(url));
      const answer = { ...token(), token_type: "bearer", expires_in: 3600, id: "milo" };
      return Promise.resolve(Response.json(answer));
    },
  });
  const { authUrl, tokenUrl, userinfoUrl, quirks, serviceType } = entry;
  const { platform } = await w.as(w.operator).platforms.catalogue.create({
    ...{ name, serviceType, authUrl, tokenUrl, userinfoUrl, quirks },
    defaultScopes: ["https://graph.microsoft.com/Mail.Read"],
  });
  const tenant = await w.tenant();
  const { platform: service } = await w.as(tenant.admin).platforms.services.register({
    serviceName: platform.name,
    config: { clientId: "client", clientSecret: "secret", tenantId: directory },
  });
  const api = w.as(tenant.member).platforms;
  const start = () => api.connections.start({ platformId: platform.id });
  const later = () => void (now += 2 * 3600_000);
  return { w, api, asked, start, later, tenant, platform, service };
}

Deno.test("an Outlook connection authorizes and refreshes at the service's own directory", async () => {
  const { w, api, asked, start, later } = await scene("Outlook", "contoso-id");
  const started = await start();
  const url = new URL(started.authorizationUrl);
  assert.equal(url.origin + url.pathname, `${host}/contoso-id/oauth2/v2.0/authorize`);
  const state = url.searchParams.get("state") ?? "";
  const back = await w.request(
    `/api/v1/oauth/callback?${new URLSearchParams({ state, code: "c" })}`,
  );
  assert.equal(back.status, 200, await back.text());
  const { id } = await api.connections.complete({ id: started.id });
  later();
  await api.bindings.accessToken({ id });
  const endpoint = `${host}/contoso-id/oauth2/v2.0/token`;
  const tokenCalls = asked.filter((url) => url.startsWith(host));
  assert.deepEqual(tokenCalls, [endpoint, endpoint], "one exchange and one refresh");
  await w.close();
});

Deno.test("a directory changed or cleared is the next connection's, and a credential's own URL stays", async () => {
  const { w, start, tenant, service } = await scene("Microsoft Teams", "contoso-id");
  const place = async () => new URL((await start()).authorizationUrl).pathname.split("/")[1];
  const admin = w.as(tenant.admin).platforms;
  assert.equal(await place(), "contoso-id");
  await admin.services.update({ id: service.id, config: { tenantId: "fabrikam" } });
  assert.equal(await place(), "fabrikam");
  const { credentials: [credential] } = await admin.credentials.list({});
  assert.ok(credential);
  const authUrl = `${host}/common/oauth2/v2.0/authorize`;
  await admin.credentials.update({ id: credential.id, authUrl });
  assert.equal(await place(), "common");
  await admin.credentials.update({ id: credential.id, authUrl: null });
  await admin.services.update({ id: service.id, config: { tenantId: null } });
  assert.equal(await place(), "organizations");
  await w.close();
});
