/**
 * The baseline of API keys: better-auth's own verification, on the Postgres it is told. A line
 * `verify N` on standard input makes N of them one after the other, `defaults N` with the limit per
 * key it has unless told otherwise; the answer is a line with the seconds. A project of its own, so
 * that nobody who only runs the service downloads it.
 */
import { apiKey } from "@better-auth/api-key";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import process from "node:process";
import { createInterface } from "node:readline";
import pg from "pg";

const [connectionString] = Deno.args;
const database = new pg.Pool({ connectionString, options: "-c search_path=better_auth" });
const optionsWith = (plugin: ReturnType<typeof apiKey>) => ({
  baseURL: "http://127.0.0.1",
  secret: crypto.randomUUID(),
  database,
  emailAndPassword: { enabled: true },
  telemetry: { enabled: false },
  plugins: [plugin],
});
const options = optionsWith(apiKey({ rateLimit: { enabled: false } }));
await (await getMigrations(options)).runMigrations();
const unlimited = betterAuth(options);
const limited = betterAuth(optionsWith(apiKey()));
/** How often a day a key may be used by default. */
const PER_KEY = 10;

const { user } = await unlimited.api.signUpEmail({
  body: {
    email: `${crypto.randomUUID()}@people.example`,
    name: "Ada Okafor",
    password: crypto.randomUUID(),
  },
});
const make = async (auth: typeof unlimited) =>
  (await auth.api.createApiKey({ body: { name: "bench", userId: user.id } })).key;
const key = await make(unlimited);

async function seconds(times: number, auth: typeof unlimited, keyOf: (i: number) => string) {
  const began = performance.now();
  for (let i = 0; i < times; i++) {
    const { valid } = await auth.api.verifyApiKey({ body: { key: keyOf(i) } });
    if (!valid) throw new Error("The key was refused");
  }
  return (performance.now() - began) / 1_000;
}

console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  const [what, count] = line.split(" ");
  const times = Number(count);
  if (what === "verify") console.log(await seconds(times, unlimited, () => key));
  else {
    const keys: string[] = [];
    while (keys.length * PER_KEY < times) keys.push(await make(limited));
    console.log(await seconds(times, limited, (i) => keys[i % keys.length] ?? key));
  }
}
await database.end();
