/** What permissions add up to: unions, narrowings and their text in a token, for any grants there are. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { unmoved } from "../kit.ts";
import {
  covers,
  decode,
  encode,
  ladder,
  narrowed,
  permissions,
  union,
} from "../../src/access/permissions.ts";
import { tokens } from "../../src/access/tokens.ts";
import type { Grants, Reach } from "../../src/context.ts";
import { newSigningKey } from "../../scripts/laptop.ts";

const reach = fc.option(fc.constantFrom(...ladder), { nil: undefined });
const anyGrants: fc.Arbitrary<Grants> = fc
  .tuple(...permissions.map((permission) => reach.map((reach) => [permission, reach] as const)))
  .map((pairs) => Object.fromEntries(pairs.filter(([, reach]) => reach !== undefined)));
const anyScopes = fc.subarray([...permissions, "no.such", "constructor", "__proto__"]);
const runs = { numRuns: 500 };

Deno.test("union is commutative, associative and idempotent, and nothing is its zero", () => {
  fc.assert(
    fc.property(anyGrants, anyGrants, anyGrants, (a, b, c) => {
      assert.deepEqual(union(a, b), union(b, a));
      assert.deepEqual(union(union(a, b), c), union(a, union(b, c)));
      assert.deepEqual(union(a, b, c), union(union(a, b), c));
      assert.deepEqual([union(a, a), union(a), union(a, {}), union()], [a, a, a, {}]);
    }),
    runs,
  );
});

Deno.test("union covers each of its parts, and is covered by whatever covers them all", () => {
  fc.assert(
    fc.property(anyGrants, anyGrants, anyGrants, (a, b, c) => {
      assert.ok(covers(union(a, b), a) && covers(union(a, b), b));
      if (covers(c, a) && covers(c, b)) assert.ok(covers(c, union(a, b)));
      if (covers(a, b)) assert.ok(covers(union(a, c), union(b, c)));
    }),
    runs,
  );
});

Deno.test("covers knows the ladder: each reach includes those before it", () => {
  const given = (reach?: Reach): Grants => reach ? { "audit.read": reach } : {};
  const steps = [undefined, ...ladder];
  for (const [i, high] of steps.entries()) {
    for (const [j, low] of steps.entries()) {
      assert.equal(covers(given(high), given(low)), i >= j, `${high} over ${low}`);
    }
  }
});

Deno.test("narrowed leaves only what is named, at the reach it had", () => {
  fc.assert(
    fc.property(anyGrants, anyScopes, anyScopes, (grants, scopes, more) => {
      const left = narrowed(grants, scopes);
      assert.ok(covers(grants, left));
      for (const permission of permissions) {
        const expected = scopes.includes(permission) ? grants[permission] : undefined;
        assert.equal(left[permission], expected);
      }
      assert.deepEqual(narrowed(left, scopes), left);
      assert.deepEqual(
        narrowed(narrowed(grants, scopes), more),
        narrowed(narrowed(grants, more), scopes),
      );
    }),
    runs,
  );
});

Deno.test("decode reads what encode wrote", () => {
  fc.assert(
    fc.property(anyGrants, (grants) => assert.deepEqual(decode(encode(grants)), grants)),
    runs,
  );
});

Deno.test("decode reads an older and a newer catalogue's text position by position", () => {
  fc.assert(
    fc.property(
      anyGrants,
      fc.nat({ max: permissions.length }),
      fc.string(),
      (grants, known, tail) => {
        const text = encode(grants).padEnd(permissions.length, "0");
        const older = permissions.slice(0, known).flatMap((p) => grants[p] ? [[p, grants[p]]] : []);
        assert.deepEqual(decode(text.slice(0, known)), Object.fromEntries(older));
        assert.deepEqual(decode(text + tail), grants);
      },
    ),
    runs,
  );
});

Deno.test("decode gives nothing for a digit it does not know", () => {
  const odd = fc.string({ unit: fc.constantFrom(..."56789abcfF -+.eE\0٣Ⅳ"), maxLength: 60 });
  fc.assert(fc.property(odd, (text) => assert.deepEqual(decode(text), {})), runs);
});

Deno.test("a token with every permission stays under 1 KB", async () => {
  const issuer = "https://switchboard.a-rather-long-name.example";
  const { sign } = await tokens([await newSigningKey("current")], issuer);
  const [tenantId, userId] = [crypto.randomUUID(), crypto.randomUUID()];
  const { token } = await sign(
    {
      actor: { type: "user", tenantId, id: userId },
      tenantId,
      userId,
      sessionId: crypto.randomUUID(),
      grants: Object.fromEntries(permissions.map((p) => [p, "global" as const])),
    },
    new Date(),
    { ...unmoved, isListed: true },
  );
  assert.ok(token.length < 1_024, `${token.length} bytes`);
});
