/** The same promises on every way to a Postgres: directly, an older one, Neon's driver, a pooler. */
import assert from "node:assert/strict";
import { sql } from "drizzle-orm";
import { open } from "../../db/client.ts";
import { behaves } from "../db/behaviours.ts";
import { patient } from "../../src/retries.ts";
import { type House, house, houseOn, until } from "../db/house.ts";
import { type NeonProxy, neonProxy } from "../stand_ins/neon_proxy.ts";
import { hasPgBouncer, type PgBouncer, pgbouncer } from "../stand_ins/pgbouncer.ts";
import { installed, postgres, type PostgresServer } from "../stand_ins/postgres.ts";

const has15 = installed(15) !== undefined;
let server: PostgresServer;
let at18: House;
let at15: House | undefined;
let neon: NeonProxy;
let pooler: PgBouncer | undefined;

Deno.test.beforeAll(async () => {
  server = await postgres();
  at18 = await houseOn(server);
  at15 = has15 ? await house({ major: 15 }) : undefined;
  neon = neonProxy(at18.url);
  pooler = hasPgBouncer() ? await pgbouncer(at18.url, { poolSize: 1 }) : undefined;
});

Deno.test.afterAll(async () => {
  await pooler?.stop();
  await neon.stop();
  await at15?.[Symbol.asyncDispose]();
  await at18[Symbol.asyncDispose]();
  await server.stop();
});

const throughNeon = () =>
  Promise.resolve(open(at18.url, { driver: "neon", webSocketProxy: neon.address }));
// A single session behind the pooler: whatever one tenant left on it, the next would find.
const throughPooler = () => Promise.resolve(open(pooler?.url ?? "", { poolSize: 8 }));

behaves("postgres 18", () => Promise.resolve(open(at18.url)));
behaves("postgres 15", () => Promise.resolve(open(at15?.url ?? "")), { ignore: !has15 });
behaves("neon", throughNeon);
behaves("pgbouncer", throughPooler, { ignore: !hasPgBouncer() });

Deno.test("neon answers again after every connection was dropped", async () => {
  const database = patient(await throughNeon()); // As the service asks: the end may be heard of late.
  assert.equal((await database.query(sql`select 1 as one`))[0]?.one, 1);
  neon.dropConnections();
  await until(() => neon.openConnections === 0, "every connection is gone");
  assert.equal((await database.query(sql`select 2 as two`))[0]?.two, 2);
  await database.close();
});

Deno.test("open takes Neon's driver for Neon's hosts and TCP for all others", async () => {
  const drivers = [
    ["postgres://u:p@ep-cool-1.eu-central-1.aws.neon.tech/db", "neon"],
    ["postgres://u:p@neon.tech.example.com/db", "postgres"],
    ["postgres://u:p@localhost/db", "postgres"],
  ] as const;
  for (const [url, driver] of drivers) {
    const database = open(url);
    assert.equal(database.driver, driver, url);
    await database.close();
  }
});
