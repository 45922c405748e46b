/** Signing in as somebody else through an identity provider: state, secret, code and address tampered with. */
import assert from "node:assert/strict";
import { TRPCError } from "@trpc/server";
import { newFlowToken } from "../../src/access/flow_tokens.ts";
import type { Vault } from "../../src/secrets/vault.ts";
import { minutes } from "./house.ts";
import { type Attacks, flips, repelled } from "./sso_attacks.ts";
import { claimed, clientSecret, returnTo, type SsoHome, ssoHome } from "./sso_house.ts";

let h: SsoHome;
Deno.test.beforeAll(async () => void (h = await ssoHome()));
Deno.test.beforeEach(() => {
  h.clock.ms = Date.now();
  h.provider.settings.claims = undefined;
});
Deno.test.afterAll(() => h.close());

/** A house where ada and mallory are users already, and ways to begin. */
async function scene() {
  const house = await h.house();
  const { domain, idp } = house;
  claimed(h.provider, {
    ada: { email: `ada@${domain}` },
    mallory: { email: `mallory@${domain}` },
  });
  for (const account of ["ada", "mallory"]) {
    assert.equal((await h.signIn(idp.id, account)).status, 200);
  }
  const begin = (account: string) => h.visit({ identity_provider_id: idp.id }, account);
  return { ...house, begin };
}

const named = (
  names: string,
  all: string[],
  attempt: (text: string) => Promise<{ status: number }>,
) => Object.fromEntries(all.map((text, i) => [`${names} ${i}`, () => attempt(text)]));

const withParam = (back: URL, changes: Record<string, string | null>): URL => {
  const url = new URL(back);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  return url;
};

Deno.test("a state that is not the flow's own is refused, letter by letter", async () => {
  const [here, there] = [await scene(), await h.house()];
  const { id, secret, back } = await here.begin("ada");
  const other = await here.begin("mallory");
  const elsewhere = await h.visit({ identity_provider_id: there.idp.id }, "ada");
  const late = await here.begin("ada");
  const state = back.searchParams.get("state") ?? "";
  const otherState = other.back.searchParams.get("state") ?? "";
  const land = (wrong: string) => h.land(withParam(back, { state: wrong }));
  const halves = (a: string, b: string, at: number) => a.slice(0, at) + b.slice(at);
  const used = await here.begin("ada");
  assert.equal((await h.land(used.back)).status, 200);
  h.clock.ms += minutes(9);
  const attacks: Attacks = {
    ...named("bit flip", flips(state), land),
    "our ids, another's secret bits": () => land(halves(state, otherState, 44)),
    "another's ids, our secret bits": () => land(halves(otherState, state, 44)),
    "another tenant's id": () =>
      land(halves(elsewhere.back.searchParams.get("state") ?? "", state, 22)),
    "ids alone": () => land(newFlowToken(here.tenantId, id)),
    "of another flow, whose code is not ours, twice": async () => {
      await h.land(other.back);
      return await land(otherState);
    },
    "the secret": () => land(secret),
    "no state": () => h.land(withParam(back, { state: null })),
    "an empty state": () => land(""),
    "two states": () => h.land(new URL(`${back}&state=${state}`)),
    "a padded state": () => land(`${state}==`),
    "a state with a space": () => land(`${state} `),
    "a longer state": () => land(`${state}A`),
    "a shorter state": () => land(state.slice(0, -1)),
    "small letters": () => land(state.toLowerCase()),
    "a replay": () => h.land(used.back),
    "neither code nor error": () => h.land(withParam(back, { code: null })),
    "code and error": () => h.land(withParam(back, { error: "access_denied" })),
    "two codes": () => h.land(new URL(`${back}&code=x`)),
    "too late": async () => {
      h.clock.ms += minutes(2);
      const answer = await h.land(late.back);
      h.clock.ms -= minutes(2);
      return answer;
    },
  };
  await repelled(h, "state", attacks, async () => {
    assert.equal((await h.land(back)).status, 200);
    return await h.complete({ id, secret });
  }, [400]);
});

Deno.test("complete wants the secret of whoever began, letter by letter", async () => {
  const { begin } = await scene();
  const { id, secret, back } = await begin("ada");
  const other = await begin("mallory");
  for (const each of [back, other.back]) assert.equal((await h.land(each)).status, 200);
  const state = back.searchParams.get("state") ?? "";
  await repelled(
    h,
    "secret",
    {
      ...named("bit flip", flips(secret), (wrong) => h.complete({ id, secret: wrong })),
      "another's secret": () => h.complete({ id, secret: other.secret }),
      "another's flow": () => h.complete({ id: other.id, secret }),
      "the state": () => h.complete({ id, secret: state }),
      "the code": () => h.complete({ id, secret: back.searchParams.get("code") }),
      "a secret of our making": () =>
        h.complete({ id, secret: newFlowToken(crypto.randomUUID(), id) }),
      "no secret": () => h.complete({ id }),
      "an empty secret": () => h.complete({ id, secret: "" }),
      "null": () => h.complete({ id, secret: null }),
      "an object": () => h.complete({ id, secret: { ne: "" } }),
      "a padded secret": () => h.complete({ id, secret: `${secret}==` }),
      "a code of our own beside it": () =>
        h.complete({ id, secret, code: other.back.searchParams.get("code") }),
    },
    () => h.complete({ id, secret }),
    [400, 401],
  );
  assert.equal((await h.complete({ id, secret })).status, 409, "a replay");
});

Deno.test("a code that was not made for this very flow signs nobody in", async () => {
  const [here, there] = [await scene(), await h.house()];
  const codeOf = ({ back }: { back: URL }) => back.searchParams.get("code") ?? "";
  /** Mallory's flow comes back with another code than its own. */
  const bringing = (code: string) => async () => {
    const mine = await here.begin("mallory");
    assert.equal((await h.land(withParam(mine.back, { code }))).status, 200);
    return await h.complete({ id: mine.id, secret: mine.secret });
  };
  const stolen = await here.begin("ada");
  const used = await here.begin("ada");
  await h.land(used.back);
  assert.equal((await h.complete({ id: used.id, secret: used.secret })).status, 200);
  const elsewhere = await h.visit({ identity_provider_id: there.idp.id }, "ada");
  const foreign = await h.providerFor(here.owner);
  const atOther = await h.visit({ identity_provider_id: foreign.id }, "ada");
  await repelled(h, "code", {
    "ada's, unused": bringing(codeOf(stolen)),
    "ada's, used": bringing(codeOf(used)),
    "of another client of another tenant": bringing(codeOf(elsewhere)),
    "of another client of this tenant": bringing(codeOf(atOther)),
    ...named("bit flip", flips(codeOf(stolen)).slice(0, 8), (code) => bringing(code)()),
    "of nobody": bringing("0000000000000000000000000000000000000000000"),
    "with a parameter of its own": bringing(`${codeOf(stolen)}&code_verifier=x`),
    "with a line break": bringing("x\r\ny"),
  }, async () => {
    const honest = await here.begin("mallory");
    await h.land(honest.back);
    return await h.complete({ id: honest.id, secret: honest.secret });
  });
});

Deno.test("an authorization request that was changed on its way signs nobody in", async () => {
  const { idp, begin } = await scene();
  const other = await begin("mallory");
  /** The browser asks otherwise than we said, and is honest then. */
  const asking = (change: Record<string, string | null>) => async () => {
    const { body } = await h.start({ identity_provider_id: idp.id });
    const url = withParam(new URL(String(body.authorization_url)), change);
    const back = await h.provider.authorize(url, { account: "ada" }).catch(() => null);
    if (!back?.href.startsWith(`${h.callback}?`)) return { status: 400 };
    await h.land(back);
    return await h.complete({ id: body.id, secret: body.secret });
  };
  const challenge = other.url.searchParams.get("code_challenge");
  const address = (text: string) => asking({ redirect_uri: text });
  await repelled(h, "authorization request", {
    "another's challenge": asking({ code_challenge: challenge }),
    "no challenge": asking({ code_challenge: null, code_challenge_method: null }),
    "a plain challenge": asking({ code_challenge_method: "plain" }),
    "another's nonce": asking({ nonce: other.url.searchParams.get("nonce") }),
    "no nonce": asking({ nonce: null }),
    "another's state": asking({ state: other.url.searchParams.get("state") }),
    "another's client": asking({ client_id: crypto.randomUUID() }),
    "without openid": asking({ scope: "email" }),
    "an implicit answer": asking({ response_type: "id_token" }),
    "a foreign address": address("https://evil.example/"),
    "a longer address": address(`${h.callback}/`),
    "a query": address(`${h.callback}?a=1`),
    "a fragment": address(`${h.callback}#x`),
    "another case": address(h.callback.replace("callback", "Callback")),
    "a step up": address(`${h.callback}/../callback`),
    "a user in front": address(h.callback.replace("://", "://evil.example@")),
    "another port": address(h.callback.replace(".test", ".test:81")),
  }, asking({ prompt: "login" }));
});

Deno.test("sso.start sends the browser on to no address but those written down", async () => {
  const { idp } = await scene();
  const to = (return_to: string) => () => h.start({ identity_provider_id: idp.id, return_to });
  const wrong = [
    ...["https://evil.example/", "//evil.example", "javascript:alert(1)", "/signed-in", ""],
    returnTo.replace("https", "http"),
    returnTo.replace("app", "App"),
    returnTo.replace("?", "/?"),
    returnTo.replace("?from=sso", ""),
    `${returnTo}&next=evil`,
    `${returnTo}#evil`,
    `${returnTo} `,
    ` ${returnTo}`,
    returnTo.replace("app.example", "app.example.evil.example"),
    returnTo.replace("app.example", "app.example:443"),
    returnTo.replace("app.example", "evil@app.example"),
    returnTo.replace("app.example", "app.example."),
    returnTo.replace("/signed-in", "/x/../signed-in"),
    returnTo.replace("/signed-in", "/signed%2Din"),
    returnTo.replace("signed", "ſigned"),
  ];
  await repelled(
    h,
    "return address",
    Object.fromEntries(wrong.map((text) => [text, to(text)])),
    to(returnTo),
    [400],
  );
});

type Step = () => Promise<unknown>;
const nothing: Step = () => Promise.resolve();

/** A scene, and sign-ins in the midst of which something happens that is undone afterwards. */
async function interrupted() {
  const all = await scene();
  const { owner, idp: { id }, tenantId, begin } = all;
  const { identityProviders } = h.w.as(owner).identity;
  const put = (change: Record<string, string>) => () => identityProviders.update({ id, ...change });
  const suspended = (status: string) => () =>
    h.sql("update users set status = $1 where tenant_id = $2", [status, tenantId]);
  /** Between the callback and complete. */
  const meanwhile = (happens: Step, after: Step) => async () => {
    const { id, secret, back } = await begin("ada");
    await h.land(back);
    await happens();
    const answer = await h.complete({ id, secret });
    await after();
    return answer;
  };
  /** While we ask the provider for the ID token. */
  const during = (happens: Step, after: Step) => async () => {
    const { id, secret, back } = await begin("ada");
    await h.land(back);
    h.provider.settings.afterToken = async () => void (await happens());
    const answer = await h.complete({ id, secret });
    h.provider.settings.afterToken = undefined;
    await after();
    return answer;
  };
  /** When all is found out, and the session is about to be written. */
  const last = (happens: Step, after: Step) => async () => {
    const { id, secret, back } = await begin("ada");
    await h.land(back);
    const { secrets } = h.w.process;
    const seal: Vault["seal"] = async (ctx, spot, plain) => {
      if (spot.table === "sessions") await happens();
      return await secrets.seal(ctx, spot, plain);
    };
    const { sso } = h.w.as(null, { secrets: { ...secrets, seal } }).identity;
    const status = await sso.complete({ id, secret }).then(
      () => 200,
      (error) => error instanceof TRPCError && error.code === "FORBIDDEN" ? 403 : 500,
    );
    await after();
    return { status };
  };
  const remove = () => identityProviders.delete({ id });
  const activate = () => identityProviders.activate({ id });
  const foreign = await h.providerFor(owner, { linksUsers: true });
  return { ...all, put, suspended, meanwhile, during, last, remove, activate, foreign };
}

Deno.test("what was begun with a provider ends with it alone, and in time", async () => {
  const at = await interrupted();
  const { idp: { clientId }, put, meanwhile } = at;
  await repelled(h, "meanwhile", {
    "the provider is deactivated": meanwhile(at.remove, at.activate),
    "the client changes": meanwhile(put({ clientId: at.foreign.clientId }), put({ clientId })),
    "the secret changes and back": meanwhile(async () => {
      await put({ clientSecret: "another" })();
      await put({ clientSecret })();
    }, nothing),
    "the issuer changes": meanwhile(
      put({ issuer: `${h.provider.issuer}/other` }),
      put({ issuer: h.provider.issuer }),
    ),
    "the user is suspended": meanwhile(at.suspended("suspended"), at.suspended("active")),
    "eleven minutes pass": meanwhile(
      () => Promise.resolve(h.clock.ms += minutes(11)),
      () => Promise.resolve(h.clock.ms -= minutes(11)),
    ),
    "the provider goes before the callback": async () => {
      const { id, secret, back } = await at.begin("ada");
      await at.remove();
      await h.land(back);
      const answer = await h.complete({ id, secret });
      await at.activate();
      return answer;
    },
  }, meanwhile(put({ name: "Renamed" }), nothing));
});

Deno.test("what changes while the provider is asked shuts out like what changed before", async () => {
  const at = await interrupted();
  const { idp: { clientId }, put, during } = at;
  await repelled(h, "during the trade", {
    "the user is suspended": during(at.suspended("closed"), at.suspended("active")),
    "the client changes": during(put({ clientId: at.foreign.clientId }), put({ clientId })),
    "the issuer changes": during(
      put({ issuer: `${h.provider.issuer}/other` }),
      put({ issuer: h.provider.issuer }),
    ),
    "the provider is deactivated": during(at.remove, at.activate),
  }, during(put({ name: "Renamed again" }), nothing));
  const { last } = at;
  const rename = (from: string, to: string) => () =>
    h.sql("update user_identities set subject = $2 where subject = $1", [from, to]);
  await repelled(
    h,
    "at the last moment",
    {
      "the user is suspended": last(at.suspended("suspended"), at.suspended("active")),
      "the subject is unlinked": last(rename("ada", "was ada"), rename("was ada", "ada")),
      "the client changes": last(put({ clientId: at.foreign.clientId }), put({ clientId })),
      "the provider is deactivated": last(at.remove, at.activate),
    },
    last(put({ name: "Renamed once more" }), nothing),
    [403],
  );
});

Deno.test("a sign-in that somebody else's browser finished opens nothing without the secret", async () => {
  const { begin } = await scene();
  const mallorys = await begin("mallory"); // Mallory signs in and makes ada's browser land.
  const adas = await begin("ada");
  const landed = await h.land(mallorys.back);
  assert.equal(landed.status, 200);
  assert.ok(!landed.headers.get("set-cookie") && !landed.headers.get("location"));
  await repelled(h, "login forced on a browser", {
    "ada's client with mallory's flow": () => h.complete({ id: mallorys.id, secret: adas.secret }),
    "ada's client with its own flow": () => h.complete({ id: adas.id, secret: adas.secret }),
  }, async () => {
    await h.land(adas.back);
    return await h.complete({ id: adas.id, secret: adas.secret });
  });
});
