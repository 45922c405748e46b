/** A database with tenants whose rows hold secrets, embedded or on a real Postgres. */
import assert from "node:assert/strict";
import { sql } from "drizzle-orm";
import { v7 } from "uuid";
import { type Database, rowsOf } from "../../db/client.ts";
import { users, userSecurity } from "../../db/schema/identity.ts";
import { platformCredentials, userPlatformBindings } from "../../db/schema/platforms.ts";
import { asSystem, read, type TenantCtx, transact } from "../../src/context.ts";
import * as keys from "../../src/secrets/encryption_keys.ts";
import { keyringOf, newKek } from "../../src/secrets/keyring.ts";
import { offline } from "../../src/secrets/offline.ts";
import { at } from "../../src/secrets/places.ts";
import { freshDatabase, type Row } from "../databases.ts";
import { houseOn } from "../db/house.ts";
import type { PostgresServer } from "../stand_ins/postgres.ts";
import { ROOT_TENANT } from "../../src/topics.ts";

/** Runs a statement as the superuser, past every policy. */
export type Admin = (text: string) => Promise<Row[]>;

export const k1 = newKek("k1");
export const k2 = newKek("k2");

const platformId = v7();

/** What a process with these ENCRYPTION_KEYS does with the database. */
export function processOf(database: Database, encryptionKeys: string) {
  const keyring = keyringOf(encryptionKeys);
  const services = offline(database, keyring);
  const ctxOf = (tenantId: string): TenantCtx => asSystem(services, tenantId);
  return { keyring, services, ctxOf, root: ctxOf(ROOT_TENANT), vault: services.secrets };
}
export type Process = ReturnType<typeof processOf>;

export async function foundations(admin: Admin) {
  await admin(`insert into tenants (id, name) values ('${ROOT_TENANT}', 'Root')
    on conflict do nothing`);
  await admin(`insert into platforms (id, name, service_type)
    values ('${platformId}', 'Outlook ${platformId}', 'email')`);
}

export async function newTenant(admin: Admin): Promise<string> {
  const id = v7();
  await admin(`insert into tenants (id, name, parent_id) values ('${id}', 'T', '${ROOT_TENANT}')`);
  return id;
}

/** One credential and one binding whose secrets are `text` and a suffix; answers their ids. */
export async function keepSecrets({ ctxOf, vault }: Process, tenantId: string, text: string) {
  const ctx = ctxOf(tenantId);
  const [userId, credentialId, bindingId] = [v7(), v7(), v7()];
  const seal = (column: Parameters<typeof at>[0], row: string, suffix: string) =>
    vault.seal(ctx, at(column, row), text + suffix);
  const clientSecret = await seal(platformCredentials.clientSecret, credentialId, "-client");
  const accessToken = await seal(userPlatformBindings.accessToken, bindingId, "-access");
  const refreshToken = await seal(userPlatformBindings.refreshToken, bindingId, "-refresh");
  const totpSecret = await seal(userSecurity.totpSecret, userId, "-totp");
  const mine = { tenantId, platformId, credentialId };
  await transact(ctx, async ({ db }) => {
    const person = { id: userId, tenantId, email: `${userId}@acme.test`, displayName: "Ada" };
    await db.insert(users).values(person);
    await db.insert(userSecurity).values({ id: userId, tenantId, totpSecret });
    await db.insert(platformCredentials).values({
      id: credentialId,
      tenantId,
      platformId,
      ownerUserId: userId,
      clientId: "client",
      clientSecret,
      secretFingerprint: "fp:",
    });
    await db.insert(userPlatformBindings).values({
      ...mine,
      id: bindingId,
      ownerUserId: userId,
      externalUserId: bindingId,
      accessToken,
      refreshToken,
    });
  });
  return { tenantId, userId, credentialId, bindingId, text };
}
export type Kept = Awaited<ReturnType<typeof keepSecrets>>;

/** Opens all four secrets of `kept` and answers those that are not as they should be. */
export async function wrongIn({ ctxOf, vault }: Process, kept: Kept): Promise<string[]> {
  const ctx = ctxOf(kept.tenantId);
  const places = [
    [at(platformCredentials.clientSecret, kept.credentialId), "-client"],
    [at(userPlatformBindings.accessToken, kept.bindingId), "-access"],
    [at(userPlatformBindings.refreshToken, kept.bindingId), "-refresh"],
    [at(userSecurity.totpSecret, kept.userId), "-totp"],
  ] as const;
  const wrong: string[] = [];
  for (const [spot, suffix] of places) {
    const [row] = await read(ctx, async ({ db }) =>
      rowsOf(
        await db.execute(sql`select ${sql.identifier(spot.column)}::text as sealed
          from ${sql.identifier(spot.table)}
          where tenant_id = ${kept.tenantId} and id = ${spot.row}`),
      ));
    const plain = await vault.open(ctx, spot, String(row?.sealed)).then(
      (secret) => secret.reveal(),
      (error) => `${error}`,
    );
    if (plain !== kept.text + suffix) wrong.push(`${spot.table}.${spot.column}: ${plain}`);
  }
  return wrong;
}

/** Sealed values of every tenant by the key-encryption key their data key is wrapped under. */
export async function sealedUnder(admin: Admin): Promise<Record<string, number>> {
  const rows = await admin(`
    select d.encryption_key_id || '/' || d.state as under, count(*)::int as values from (
      select tenant_id, client_secret as s from platform_credentials
      union all select tenant_id, access_token from user_platform_bindings
      union all select tenant_id, refresh_token from user_platform_bindings
      union all select tenant_id, totp_secret from user_security
    ) v join data_keys d on d.tenant_id = v.tenant_id and d.id = split_part(v.s::text, '.', 2)::uuid
    group by 1`);
  return Object.fromEntries(rows.map(({ under, values }) => [String(under), Number(values)]));
}

/** A database, empty but for the root tenant and one platform. */
export async function plainHouse() {
  const database = await freshDatabase();
  const { admin } = database;
  await foundations(admin);
  return { database, admin, [Symbol.asyncDispose]: () => database.close() };
}

/** The same on a server that several processes are to reach. */
export async function postgresHouse(server: PostgresServer) {
  const house = await houseOn(server);
  await foundations(house.admin);
  return house;
}

export const both = `${k1},${k2}`;

/** Tenants with secrets under k1, and k2 promoted. */
export async function rotating(howMany = 2, secretsEach = 2) {
  const house = await plainHouse();
  const process = processOf(house.database, both);
  const kept: Kept[] = [];
  const tenants: string[] = [];
  for (let i = 0; i < howMany; i++) {
    const tenantId = await newTenant(house.admin);
    tenants.push(tenantId);
    for (let j = 0; j < secretsEach; j++) {
      kept.push(await keepSecrets(process, tenantId, `canary${i}${j}`));
    }
    await process.vault.ready(process.ctxOf(tenantId));
  }
  await keys.add(process.root, process.keyring, "k2");
  await keys.promote(process.root, process.keyring, "k2");
  return { ...house, process, kept, tenants };
}

export const rejectsWith = (promise: Promise<unknown>, sentence: RegExp) =>
  assert.rejects(promise, { message: sentence });
