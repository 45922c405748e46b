import assert from "node:assert/strict";
import fc from "fast-check";
import { etagOf, isListed, parseTags, requireMatch } from "../../src/etags.ts";

const id = "0192f1a0-0000-7000-8000-000000000001";
const updatedAt = new Date("2026-11-22T10:11:12.345Z");
const etag = etagOf(id, updatedAt);

Deno.test("etagOf tells every version, row and variant apart", () => {
  const others = [
    etagOf(id, new Date(updatedAt.getTime() + 1)),
    etagOf(id.replace("1", "2"), updatedAt),
    etagOf(id, updatedAt, "platform-api"),
  ];
  assert.equal(new Set([etag, ...others]).size, 4);
  assert.match(etag, /^"[a-z0-9-]+"$/);
});

Deno.test("parseTags reads lists, weak tags and *, and knows what is none", () => {
  assert.equal(parseTags(" * "), "*");
  assert.deepEqual(parseTags('"a", W/"b,c" ,"d"'), [
    { isWeak: false, value: '"a"' },
    { isWeak: true, value: '"b,c"' },
    { isWeak: false, value: '"d"' },
  ]);
  for (const header of ["", "abc", '"a', '"a" "b"', 'w/"a"', "*, *"]) {
    assert.equal(parseTags(header), null, header);
  }
  fc.assert(fc.property(fc.string(), (header) => void parseTags(header)));
});

Deno.test("isListed compares weakly", () => {
  assert.ok(isListed(`"x", W/${etag}`, etag));
  assert.ok(isListed("*", etag));
  assert.ok(!isListed(etagOf(id, updatedAt, "v"), etag));
  assert.ok(!isListed("nonsense", etag));
});

Deno.test("requireMatch compares strongly, sees through variants, and refuses with 412", () => {
  const row = { id, updatedAt };
  for (const header of [null, undefined, "*", etag, `"x", ${etag}`, etagOf(id, updatedAt, "v")]) {
    requireMatch(header, row);
  }
  for (const header of ['"x"', `W/${etag}`]) {
    assert.throws(() => requireMatch(header, row), { code: "PreconditionFailed" });
  }
  assert.throws(() => requireMatch("abc", row), { code: "ValidationError" });
});
