/** A Secret gives nothing away, however it is written. */
import assert from "node:assert/strict";
import { format, inspect } from "node:util";
import superjson from "superjson";
import { plainOf, Secret } from "../../src/secrets/secret.ts";

const canary = "canary-3f9a";
const secret = new Secret(canary);

const ways: Record<string, () => unknown> = {
  "String()": () => String(secret),
  "a template string": () => `${secret}`,
  "concatenation": () => "" + secret,
  "Array.join": () => [secret].join(),
  "JSON.stringify": () => JSON.stringify({ secret, list: [secret] }),
  "superjson.stringify": () => superjson.stringify({ secret, map: new Map([["k", secret]]) }),
  "superjson.serialize": () => JSON.stringify(superjson.serialize({ secret })),
  "structuredClone": () => JSON.stringify(structuredClone({ secret })),
  "spread": () => JSON.stringify({ ...secret }),
  "own keys": () => JSON.stringify(Reflect.ownKeys(secret)),
  "Object.entries": () => JSON.stringify(Object.entries(secret)),
  "Deno.inspect": () => Deno.inspect({ secret }, { depth: 9, showHidden: true }),
  "Deno.inspect of the secret": () => Deno.inspect(secret, { getters: true, showHidden: true }),
  "node:util inspect": () => inspect({ secret }, { showHidden: true, depth: 9, getters: true }),
  "node:util format %s %j %o %O": () => format("%s %j %o %O", secret, secret, secret, secret),
  "an error's message": () => new Error(`refused ${secret}`).stack,
  "an error's cause": () => Deno.inspect(new Error("refused", { cause: { secret } })),
  "a number": () => Number(secret),
  "a query": () => new URLSearchParams({ secret: String(secret) }).toString(),
};

Deno.test("Secret never prints what it holds", () => {
  for (const [way, print] of Object.entries(ways)) {
    assert.ok(!String(print()).includes(canary), `${way} shows the secret`);
  }
});

Deno.test("Secret prints as [secret]", () => {
  const shown = ["String()", "a template string", "concatenation", "Deno.inspect of the secret"];
  for (const way of shown) assert.equal(ways[way]?.(), "[secret]", way);
  assert.equal(JSON.stringify({ secret }), '{"secret":"[secret]"}');
  assert.match(Deno.inspect({ secret }), /\[secret\]/);
});

Deno.test("console.log of a Secret writes [secret] to every stream", async () => {
  const program = `
    const { Secret } = await import(${
    JSON.stringify(import.meta.resolve("../../src/secrets/secret.ts"))
  });
    const secret = new Secret("canary" + "-3f9a");
    console.log(secret, { secret }, [secret], "%s", secret);
    console.log("%s %o %O %d %c", secret, secret, secret, secret, secret);
    console.error(secret, new Error("with " + secret, { cause: secret }));
    console.table([{ secret }]); console.dir(secret, { depth: 9 });
    throw Object.assign(new Error("uncaught"), { secret });`;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-lock", program],
    env: { NO_COLOR: "1" },
  }).output();
  const written = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assert.match(written, /\[secret\]/);
  assert.match(written, /uncaught/);
  assert.ok(!written.includes(canary), written);
});

Deno.test("Secret.reveal and plainOf give the text", () => {
  assert.equal(secret.reveal(), canary);
  assert.equal(plainOf(secret), canary);
  assert.equal(plainOf("plain"), "plain");
});
