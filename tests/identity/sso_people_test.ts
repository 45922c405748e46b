/** Becoming somebody by an e-mail: only where the provider has verified it and the tenant its domain. */
import assert from "node:assert/strict";
import { type Attacks, repelled } from "./sso_attacks.ts";
import { claimed, type SsoHome, ssoHome } from "./sso_house.ts";

let h: SsoHome;
Deno.test.beforeAll(async () => void (h = await ssoHome()));
Deno.test.beforeEach(() => {
  h.clock.ms = Date.now(); // What a provider signs is of now.
  h.provider.settings.claims = undefined;
});
Deno.test.afterAll(() => h.close());

type Claims = Record<string, unknown>;

/** Mallory's account at the provider says what it likes; a tenant where ada is an owner. */
async function scene(more: Parameters<SsoHome["house"]>[0] = {}) {
  const house = await h.house(more);
  const { tenantId, domain, idp } = house;
  const ada = await h.login(tenantId, { email: `ada@${domain}`, role: "owner" });
  const saying = (claims: Claims) => async () => {
    const account = `mallory ${crypto.randomUUID()}`;
    claimed(h.provider, { [account]: claims });
    return await h.signIn(idp.id, account);
  };
  return { ...house, ada, saying };
}

/** What is not `true`, however much it looks like it. */
const notTrue = [
  false,
  "true",
  "True",
  1,
  "1",
  "yes",
  null,
  undefined,
  [true],
  { value: true },
  "on",
];

Deno.test("an e-mail the provider has not verified links nobody and makes nobody", async () => {
  const { domain, ada, saying } = await scene();
  const attacks: Attacks = Object.fromEntries(notTrue.flatMap((email_verified) => {
    const name = `email_verified: ${JSON.stringify(email_verified)}`;
    return [
      [`${name}, a user's`, saying({ email: `ada@${domain}`, email_verified })],
      [`${name}, somebody new's`, saying({ email: `new@${domain}`, email_verified })],
    ];
  }));
  await repelled(h, "unverified e-mails", attacks, async () => {
    const answer = await saying({ email: `ada@${domain}`, email_verified: true })();
    assert.equal(answer.body.user_id, ada.userId);
    return answer;
  }, [403]);
});

Deno.test("an e-mail that only looks like one of a verified domain is refused", async () => {
  const { tenantId, domain, saying } = await scene();
  await h.sql(
    "insert into domains (tenant_id, id, name, challenge) values ($1, gen_random_uuid(), $2, 'c')",
    [tenantId, `claimed.${domain}`],
  );
  const is = (email: unknown) => saying({ email, email_verified: true });
  const outside = `ada-${crypto.randomUUID()}@elsewhere.example`;
  await h.login(tenantId, { email: outside }); // A user here, of a domain that is not ours.
  await repelled(
    h,
    "e-mails",
    {
      "of a domain claimed and not verified": is(`ada@claimed.${domain}`),
      "of a domain below": is(`ada@mail.${domain}`),
      "of the domain above": is("ada@example"),
      "of a domain that ends like ours": is(`ada@x${domain}`),
      "of a domain that begins like ours": is(`ada@${domain}.evil.example`),
      "of a user's, in a domain that is not ours": is(outside),
      "ours in front": is(`ada@${domain}@evil.example`),
      "ours behind": is(`ada@evil.example@${domain}`),
      "ours in quotes": is(`"ada@${domain}"@evil.example`),
      "ours in angles": is(`<ada@${domain}>`),
      "ours with a name": is(`Ada <ada@${domain}>`),
      "two": is(`ada@${domain},mallory@evil.example`),
      "a list": is([`ada@${domain}`]),
      "an object": is({ value: `ada@${domain}` }),
      "a letter that looks alike": is(`аda@${domain}`),
      "a capital that folds into another letter": is(`\u212aate@${domain}`),
      "a zero byte": is(`ada@${domain}\u0000`),
      "a line break": is(`ada@${domain}\nbcc: x`),
      "a dot at the end": is(`ada@${domain}.`),
      "no name": is(`@${domain}`),
      "no domain": is("ada@"),
      "a comment": is(`ada(x)@${domain}`),
      "a wildcard": is(`%@${domain}`),
      "too long": is(`${"a".repeat(400)}@${domain}`),
      "none": is(undefined),
    },
    is(`ADA@${domain.toUpperCase()}`),
    [403],
  );
});

Deno.test("an e-mail of another tenant's user or domain opens neither tenant", async () => {
  const [here, there] = [await scene(), await scene()];
  const guest = await h.login(there.tenantId, { email: `guest@${here.domain}`, role: "owner" });
  const says = (email: string) => here.saying({ email, email_verified: true });
  await repelled(h, "other tenants", {
    "a user and a domain of theirs": says(`ada@${there.domain}`),
    "somebody new in a domain of theirs": says(`new@${there.domain}`),
  }, async () => {
    const answer = await says(`guest@${here.domain}`)();
    assert.notEqual(answer.body.user_id, guest.userId, "theirs stays theirs");
    assert.equal(answer.body.tenant_id, here.tenantId);
    return answer;
  }, [403]);
});

Deno.test("one subject at two providers, or in two tenants, is not one person", async () => {
  const [here, there] = [await scene(), await scene()];
  claimed(h.provider, { x: { email: `x@${here.domain}`, email_verified: true } });
  const first = await h.signIn(here.idp.id, "x");
  assert.equal(first.status, 200);
  const second = await h.providerFor(here.owner);
  claimed(h.provider, { x: { email: undefined, email_verified: undefined } });
  await repelled(h, "subjects", {
    "at another provider of the tenant": () => h.signIn(second.id, "x"),
    "in another tenant": () => h.signIn(there.idp.id, "x"),
    "in another case": () => h.signIn(here.idp.id, "X"),
  }, async () => {
    const again = await h.signIn(here.idp.id, "x");
    assert.equal(again.body.user_id, first.body.user_id);
    return again;
  }, [403]);
});

Deno.test("a service account and who is not active are linked by no e-mail", async () => {
  const { tenantId, domain, saying } = await scene();
  const put = async (email: string, change: string) => {
    const { userId } = await h.login(tenantId, { email });
    await h.sql(`update users set ${change} where id = $1`, [userId]);
    return saying({ email, email_verified: true });
  };
  await repelled(
    h,
    "accounts",
    {
      "a service account": await put(`robot@${domain}`, "kind = 'service'"),
      "a suspended user": await put(`gone@${domain}`, "status = 'suspended'"),
      "a closed user": await put(`left@${domain}`, "status = 'closed'"),
    },
    await put(`here@${domain}`, "kind = 'person'"),
    [403],
  );
});

Deno.test("a provider that gives users no more than a role gives no more than that role", async () => {
  const { tenantId, domain, saying } = await scene({ linksUsers: false, systemRole: "auditor" });
  const answer = await saying({ email: `new@${domain}`, roles: ["owner"], system_role: "owner" })();
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  const bound = await h.sql(
    "select system_role, role_id from role_bindings where owner_user_id = $1",
    [
      answer.body.user_id,
    ],
  );
  assert.deepEqual(bound, [{ system_role: "auditor", role_id: null }]);
  assert.equal(answer.body.tenant_id, tenantId);
});
