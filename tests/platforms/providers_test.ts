/** The catalogue's seed: complete, well-formed, and right about the quirks that break connections. */

import assert from "node:assert/strict";
import { screen } from "../../src/outbound.ts";
import { Provider, providers } from "../../src/platforms/providers.ts";
import { Quirks } from "../../src/platforms/quirks.ts";

function provider(name: string) {
  const found = providers.find((one) => one.name === name);
  assert.ok(found, `${name} is not in the catalogue`);
  return found;
}

const addresses = (one: Provider) =>
  [one.authUrl, one.tokenUrl, one.revocationUrl, one.userinfoUrl, one.documentationUrl]
    .concat(one.apiHosts).filter((url) => url !== null);

Deno.test("providers fit their schema and have nothing beside it", () => {
  for (const one of providers) {
    assert.deepEqual(Provider.parse(one), one, one.name);
    assert.throws(() => Quirks.parse({ ...one.quirks, surprise: 1 }), one.name);
  }
});

Deno.test("providers are at least 24, cover every service type, and have unique names", () => {
  assert.ok(providers.length >= 24, `${providers.length}`);
  assert.equal(new Set(providers.map(({ name }) => name.toLowerCase())).size, providers.length);
  for (const type of ["email", "chat", "sms", "call"]) {
    const count = providers.filter(({ serviceType }) => serviceType === type).length;
    assert.ok(count >= 5, `${count} of ${type}`);
  }
});

Deno.test("providers have those that the specification names", () => {
  const named = {
    ...{ Gmail: "email", Outlook: "email", Slack: "chat", "Microsoft Teams": "chat" },
    ...{ WhatsApp: "chat", Telegram: "chat", Twilio: "sms", Zoom: "call" },
  };
  for (const [name, type] of Object.entries(named)) assert.equal(provider(name).serviceType, type);
});

Deno.test("providers' addresses may all be called by the guarded fetch", () => {
  for (const one of providers) {
    for (const url of addresses(one)) {
      assert.equal(screen(url, { allowPrivateHosts: false }).href, new URL(url).href, one.name);
    }
  }
});

Deno.test("providers with OAuth have both endpoints; the others have neither and a token place", () => {
  for (const { name, authKind, authUrl, tokenUrl, revocationUrl, quirks } of providers) {
    if (authKind === "oauth2") {
      assert.ok(authUrl !== null && tokenUrl !== null, name);
      assert.notEqual(quirks.tokenHeader?.kind, "basic", name);
    } else {
      assert.deepEqual([authUrl, tokenUrl, revocationUrl], [null, null, null], name);
      assert.ok(quirks.tokenHeader !== null, name);
      assert.equal(
        authKind === "basic",
        quirks.tokenHeader.kind === "basic" &&
          quirks.tokenHeader.username === null,
        name,
      );
    }
  }
});

Deno.test("providers send a token to ask who it is only where they send it anyway", () => {
  const elsewhere = ["https://openidconnect.googleapis.com"];
  for (const { name, userinfoUrl, apiHosts, quirks } of providers) {
    if (userinfoUrl === null) assert.equal(quirks.accountId, null, name);
    else assert.ok([...apiHosts, ...elsewhere].includes(new URL(userinfoUrl).origin), name);
  }
});

Deno.test("providers' scopes hold no separator, repeat none, and are joined unambiguously", () => {
  for (const { name, defaultScopes, quirks } of providers) {
    for (const scope of [...defaultScopes, ...quirks.requiredScopes]) {
      assert.ok(!/[\s,]/.test(scope), `${name}: ${scope}`);
    }
    assert.equal(new Set(defaultScopes).size, defaultScopes.length, name);
  }
});

Deno.test("providers know what keeps a connection alive", () => {
  for (const name of ["Outlook", "Microsoft Teams"]) {
    assert.ok(provider(name).quirks.requiredScopes.includes("offline_access"), name);
  }
  for (const name of ["Gmail", "Google Chat", "Zoho Mail"]) {
    const { authorizationParams } = provider(name).quirks;
    assert.deepEqual(authorizationParams, { access_type: "offline", prompt: "consent" }, name);
  }
  for (const name of ["Zoom", "RingCentral", "Slack", "Outlook"]) {
    assert.equal(provider(name).quirks.rotatesRefreshToken, true, name);
  }
  assert.deepEqual(provider("Slack").quirks.tokenTypes, ["bot", "user"]);
  assert.deepEqual(provider("Telegram").quirks.tokenHeader, { kind: "path", prefix: "/bot" });
});
