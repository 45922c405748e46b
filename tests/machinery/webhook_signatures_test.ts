/** Signed webhooks, against the reference implementation of Standard Webhooks and against who would forge them. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { Webhook } from "standardwebhooks";
import { Secret } from "../../src/secrets/secret.ts";
import {
  newWebhookSecret,
  signedHeaders,
  TOLERANCE_SECONDS,
  verified,
} from "../../src/webhook_signatures.ts";

const now = new Date();
const secret = newWebhookSecret();
const other = newWebhookSecret();
const text = '{"text":"Do you have rye bread? 🥐"}';
const body = new TextEncoder().encode(text);
const SEED = Number(Deno.env.get("SEED") ?? Date.now() % 2 ** 31);
const RUNS = Deno.env.get("PROVE") ? 5_000 : 200;

const ask = (headers: Record<string, string>, more: { body?: Uint8Array; now?: Date } = {}) =>
  verified([new Secret(secret)], new Headers(headers), { body, now, ...more });
const theirs = (id = "msg_1", at = now, by = secret) => ({
  "webhook-id": id,
  "webhook-timestamp": String(Math.floor(at.getTime() / 1_000)),
  "webhook-signature": new Webhook(by).sign(id, at, text),
});

Deno.test("verified takes what the reference implementation signs, and it takes what we sign", async () => {
  assert.deepEqual(await ask(theirs()), {
    id: "msg_1",
    timestamp: Math.floor(now.getTime() / 1_000),
  });
  const ours = await signedHeaders([new Secret(secret)], { id: "msg_2", body, now });
  assert.deepEqual(new Webhook(secret).verify(text, ours), JSON.parse(text));
  assert.throws(() => new Webhook(other).verify(text, ours));
});

Deno.test("verified agrees with the reference implementation on any id and body", async () => {
  console.log(`seed ${SEED}`);
  const id = fc.stringMatching(/^[\x21-\x2d\x2f-\x7e]{1,64}$/);
  await fc.assert(
    fc.asyncProperty(id, fc.string({ unit: "binary" }), async (id, said) => {
      const bytes = new TextEncoder().encode(said);
      const whole = new TextDecoder().decode(bytes);
      const headers = {
        ...theirs(id),
        "webhook-signature": new Webhook(secret).sign(id, now, whole),
      };
      assert.equal((await ask(headers, { body: bytes }))?.id, id);
      const ours = await signedHeaders([new Secret(secret)], { id, body: bytes, now });
      assert.deepEqual(ours, headers);
    }),
    { seed: SEED, numRuns: RUNS },
  );
});

Deno.test("verified turns away whatever was changed", async () => {
  const signed = theirs();
  const [version, mac = ""] = signed["webhook-signature"].split(",");
  const later = String(Number(signed["webhook-timestamp"]) + 1);
  const changed: Record<string, Record<string, string>> = {
    "another id": { ...signed, "webhook-id": "msg_2" },
    "an id with what was the time's": { ...signed, "webhook-id": "msg_1.1" },
    "another time": { ...signed, "webhook-timestamp": later },
    "a time that is none": { ...signed, "webhook-timestamp": "now" },
    "a time before all times": { ...signed, "webhook-timestamp": "-5" },
    "another secret": theirs("msg_1", now, other),
    "a signature of the other kind": { ...signed, "webhook-signature": `v1a,${mac}` },
    "a signature without its version": { ...signed, "webhook-signature": mac },
    "half a signature": { ...signed, "webhook-signature": `${version},${mac.slice(0, 20)}` },
    "no signature": { ...signed, "webhook-signature": "" },
    "a signature that is no base64": { ...signed, "webhook-signature": `v1,${"*".repeat(43)}=` },
  };
  for (const [what, headers] of Object.entries(changed)) {
    assert.equal(await ask(headers), null, what);
  }
  for (const name of ["webhook-id", "webhook-timestamp", "webhook-signature"] as const) {
    const { [name]: _, ...rest } = signed;
    assert.equal(await ask(rest), null, `without ${name}`);
  }
  const tampered = new TextEncoder().encode(text.replace("rye", "dye"));
  assert.equal(await ask(signed, { body: tampered }), null);
  assert.equal(await ask(signed, { body: new Uint8Array() }), null);
});

Deno.test("verified takes no message that is old or from the future", async () => {
  const at = (seconds: number) => new Date(now.getTime() + seconds * 1_000);
  for (const seconds of [-TOLERANCE_SECONDS - 2, TOLERANCE_SECONDS + 2, -86_400]) {
    assert.equal(await ask(theirs("msg_1", at(seconds))), null, String(seconds));
  }
  for (const seconds of [-TOLERANCE_SECONDS + 2, TOLERANCE_SECONDS - 2]) {
    assert.notEqual(await ask(theirs("msg_1", at(seconds))), null, String(seconds));
  }
});

Deno.test("verified takes a message with several signatures when one is right", async () => {
  const [right, wrong] = [theirs(), theirs("msg_1", now, other)].map((each) =>
    each["webhook-signature"]
  );
  const signed = (signatures: string) => ask({ ...theirs(), "webhook-signature": signatures });
  assert.notEqual(await signed(`${wrong} ${right}`), null);
  assert.notEqual(await signed(`v1a,AAAA ${right} ${wrong}`), null);
  assert.equal(await signed(`${wrong} ${wrong}`), null);
  // Nobody makes us compare a thousand.
  assert.equal(await signed(`${`${wrong} `.repeat(10)}${right}`), null);
});

Deno.test("while secrets change, messages under either are taken, and ours carry both signatures", async () => {
  const both = [new Secret(other), new Secret(secret)] as const;
  const ours = await signedHeaders(both, { id: "msg_3", body, now });
  for (const each of [secret, other]) {
    assert.deepEqual(new Webhook(each).verify(text, ours), JSON.parse(text));
    const headers = new Headers(theirs("msg_3", now, each));
    assert.equal((await verified(both, headers, { body, now }))?.id, "msg_3");
  }
  const third = new Headers(theirs("msg_3", now, newWebhookSecret()));
  assert.equal(await verified(both, third, { body, now }), null);
});
