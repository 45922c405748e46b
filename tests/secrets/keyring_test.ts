/** The keyring takes only good keys, says what is wrong with others, and notices wrong bytes. */
import assert from "node:assert/strict";
import { utf8 } from "../../src/secrets/bytes.ts";
import { KeyringError, keyringOf, newKek, readKeks } from "../../src/secrets/keyring.ts";
import { keyring } from "./kit.ts";

const bytes = () => crypto.getRandomValues(new Uint8Array(32));
const aad = utf8("place");

Deno.test("readKeks says what is wrong and how to make a key, and never prints one", () => {
  const key = bytes().toBase64();
  const short = bytes().subarray(0, 31).toBase64();
  const refusals: [string, RegExp][] = [
    ["", /is empty: make one with `openssl rand -base64 32`/],
    [" \n", /is empty/],
    [key, /entry 1 is not of the form id:key: make one/],
    [`k1:${key},${key}`, /entry 2 is not of the form id:key/],
    [`k1:${key}:x`, /entry 1 is not of the form id:key/],
    [`k1:${key},`, /entry 2 is not of the form id:key/],
    [`K1:${key}`, /entry 1 has an id that is not 1 to 32 of a-z/],
    [`:${key}`, /entry 1 has an id/],
    [`${"k".repeat(33)}:${key}`, /entry 1 has an id/],
    [`${key.slice(0, 20)}+:${key}`, /entry 1 has an id/],
    ["k1:", /key k1 is 0 bytes, not 32/],
    [`k1:${short}`, /key k1 is 31 bytes, not 32: make one/],
    [`k1:${key}${key}`, /key k1 is not base64/],
    ["k1:not*base64", /key k1 is not base64: make one/],
    [`k1:${new Uint8Array(32).toBase64()}`, /key k1 is not random: make one/],
    [`k1:${key},k1:${bytes().toBase64()}`, /two keys named k1/],
    [`k1:${key},k2:${key}`, /same key under k1 and k2/],
    [Array.from({ length: 17 }, (_, n) => newKek(`k${n}`)).join(), /holds 17 keys/],
  ];
  for (const [text, sentence] of refusals) {
    assert.throws(() => readKeks(text), (error) => {
      assert.ok(error instanceof KeyringError);
      assert.match(error.message, sentence);
      assert.match(error.message, /^ENCRYPTION_KEYS /);
      for (const part of [key, key.slice(0, 20), short]) {
        assert.ok(!error.message.includes(part), `prints a key: ${error.message}`);
      }
      return true;
    });
  }
});

Deno.test("readKeks takes either base64 alphabet, padded or not, and white space", () => {
  const one = bytes();
  const two = bytes();
  const text = ` k1:${one.toBase64()} ,\n k-2_:${
    two.toBase64({ alphabet: "base64url", omitPadding: true })
  }\n`;
  assert.deepEqual(readKeks(text), [{ id: "k1", bytes: one }, { id: "k-2_", bytes: two }]);
});

Deno.test("keyringOf keeps the operator's order", () => {
  const ring = keyring("new", "old");
  assert.deepEqual(ring.ids, ["new", "old"]);
  assert.ok(ring.has("old"));
  assert.ok(!ring.has("other"));
});

Deno.test("Keyring.unwrap gives back what wrap took, for that key and that place only", async () => {
  const ring = keyring("k1", "k2");
  const data = bytes();
  const wrapped = await ring.wrap("k1", aad, data);
  assert.deepEqual(await ring.unwrap("k1", aad, wrapped), data);
  assert.notEqual(await ring.wrap("k1", aad, data), wrapped);
  await assert.rejects(ring.unwrap("k2", aad, wrapped), /k2 does not open/);
  await assert.rejects(ring.unwrap("k1", utf8("elsewhere"), wrapped), KeyringError);
  await assert.rejects(ring.unwrap("k1", aad, ""), KeyringError);
  await assert.rejects(ring.unwrap("k1", aad, `${wrapped}=`), KeyringError);
  await assert.rejects(ring.unwrap("k3", aad, wrapped), /k3 is not in ENCRYPTION_KEYS/);
});

Deno.test("Keyring.unwrap notices other bytes under the right id", async () => {
  const wrapped = await keyring("k1").wrap("k1", aad, bytes());
  await assert.rejects(
    keyring("k1").unwrap("k1", aad, wrapped),
    /this process holds other bytes under that id/,
  );
});

Deno.test("Keyring.check agrees for the same bytes and no others", async () => {
  const entry = newKek("k1");
  const here = await keyringOf(entry).check("k1");
  assert.match(here, /^[0-9a-f]{16}$/);
  assert.equal(await keyringOf(entry).check("k1"), here);
  assert.notEqual(await keyring("k1").check("k1"), here);
  const renamed = keyringOf(entry.replace("k1", "k9"));
  assert.equal(await renamed.check("k9"), here);
  await assert.rejects(renamed.check("k1"), /k1 is not in ENCRYPTION_KEYS/);
});
