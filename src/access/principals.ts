/** Who a request comes from: an access token or an API key, told apart by how they look. */
import { and, eq, isNull, lte, or, sql } from "drizzle-orm";
import { createHash, timingSafeEqual } from "node:crypto";
import { LRUCache } from "lru-cache";
import { apiKeys } from "../../db/schema/access.ts";
import type { Principal, Services } from "../context.ts";
import { asSystem, transact } from "../context.ts";
import { told } from "../log.ts";
import { ROOT_TENANT } from "../topics.ts";
import { readKey } from "./key_text.ts";
import { Fault } from "../errors.ts";
import { grantRows } from "./grant_rows.ts";
import { isWithin } from "./networks.ts";
import { narrowed, union } from "./permissions.ts";
import { everybodys, grantsOf } from "./roles.ts";

/** A revoked key, a changed role or a suspended tenant is felt everywhere within this time. */
export const KEY_TTL_MS = 5_000;
const LAST_USED_MS = 60_000;

/** What a key's row says. */
type Holding = {
  principal: Principal;
  expiresAtMs: number;
  lastUsedAtMs: number;
  /** The tenant's and the key's own: one must come from within both. */
  networks: readonly (readonly string[])[];
};
type Known = { holding: Holding | null; readAtMs: number; renewing: boolean };
type Reading = { answer: Promise<Holding | null>; readAtMs: number };

export type Principals = {
  /**
   * Null: nobody, or something that does not hold. An Authorization header counts before a key.
   * `addressOf` is asked only where it matters. Throws Forbidden for one from outside the networks
   * the tenant or the key is used from.
   */
  find(
    authorization: string | null,
    apiKey: string | null,
    addressOf?: () => string,
  ): Promise<Principal | null>;
};

const elsewhere = () =>
  new Fault(
    "Forbidden",
    "address.not_allowed",
    "Not from this address: ask whoever runs the tenant",
  );

function requireAddress(lists: readonly (readonly string[])[], addressOf: () => string) {
  for (const networks of lists) {
    if (networks.length > 0 && !isWithin(addressOf(), networks)) throw elsewhere();
  }
}

/** Remembers keys for KEY_TTL_MS and renews those in use ahead of it, off the caller's path. */
export function principals(services: Services): Principals {
  const keys = new LRUCache<string, Known>({ maxSize: 10_000, sizeCalculation: () => 1 });
  const readings = new Map<string, Reading>();
  const nowMs = () => services.now().getTime();

  /** A reading however many wait for it; what it says is what held at its beginning. */
  function fetchKey(name: string, text: string): Promise<Holding | null> {
    const readAtMs = nowMs();
    const running = readings.get(name);
    // One that hangs is not joined for ever: its answer may be as old as its question.
    if (running && readAtMs - running.readAtMs < KEY_TTL_MS) return running.answer;
    const answer = readHolding(services, text).then((holding) => {
      const newer = keys.get(name);
      if (!newer || newer.readAtMs <= readAtMs || newer.readAtMs > nowMs()) {
        keys.set(name, { holding, readAtMs, renewing: false });
      }
      return holding;
    });
    const reading = { answer, readAtMs };
    readings.set(name, reading);
    const ended = () => {
      if (readings.get(name) === reading) readings.delete(name);
    };
    answer.then(ended, ended);
    return answer;
  }

  function byKey(text: string): Promise<Holding | null> | Holding | null {
    if (!readKey(text)) return null; // The checksum says so without a query.
    const name = digest(text).toString("base64");
    const known = keys.get(name);
    const ageMs = known ? nowMs() - known.readAtMs : Infinity;
    if (!known || ageMs < 0 || ageMs >= KEY_TTL_MS) return fetchKey(name, text);
    if (ageMs >= KEY_TTL_MS / 2 && !known.renewing) {
      known.renewing = true;
      fetchKey(name, text).catch(() => known.renewing = false);
    }
    return known.holding;
  }

  function noteUse(holding: Holding) {
    const { principal: { tenantId, actor: { id } }, lastUsedAtMs } = holding;
    const atMs = nowMs();
    if (!id || atMs - lastUsedAtMs < LAST_USED_MS) return;
    holding.lastUsedAtMs = atMs;
    writeUse(services, tenantId, id, atMs)
      .catch((error) => services.log("warn", "last use not written", { error: told(error) }));
  }

  return {
    find: async (authorization, apiKey, addressOf = () => "unknown") => {
      const bearer = /^Bearer ([\x21-\x7e]+)$/i.exec(authorization ?? "")?.[1] ?? null;
      if (authorization !== null && bearer === null) return null;
      const text = bearer ?? apiKey;
      if (text === null) return null;
      if (!text.startsWith("sb_")) {
        const token = bearer ? await services.tokens.read(bearer, services.now()) : null;
        const standee = token && await services.standings.ofToken(token);
        if (standee && standee.networks.length > 0) requireAddress([standee.networks], addressOf);
        return standee?.principal ?? null;
      }
      const holding = await byKey(text);
      if (!holding || holding.expiresAtMs <= nowMs()) return null;
      requireAddress(holding.networks, addressOf);
      noteUse(holding);
      return holding.principal;
    },
  };
}

/** At most once a minute, however many processes see the key. It makes no new version of it. */
function writeUse(services: Services, tenantId: string, id: string, atMs: number) {
  const [at, before] = [new Date(atMs), new Date(atMs - LAST_USED_MS)];
  return transact(
    asSystem(services, tenantId),
    (ctx) =>
      ctx.db.update(apiKeys).set({ lastUsedAt: at, updatedAt: sql`${apiKeys.updatedAt}` })
        .where(and(
          eq(apiKeys.tenantId, tenantId),
          eq(apiKeys.id, id),
          or(isNull(apiKeys.lastUsedAt), lte(apiKeys.lastUsedAt, before)),
        )),
  );
}

const momentOf = (value: unknown, absent: number) =>
  value === null || value === undefined ? absent : new Date(String(value)).getTime();

const digest = (text: string) => createHash("sha256").update(text).digest();

/** Whether `stored` is the hash of `secret`, in a time that does not tell where they differ. */
const fits = (secret: string, stored: unknown) =>
  timingSafeEqual(digest(digest(secret).toString("hex")), digest(String(stored)));

/** Everything about a key in one query: whether it holds, and what its owner may do now. */
async function readHolding(services: Services, text: string): Promise<Holding | null> {
  const named = readKey(text);
  if (!named) return null;
  const [row] = await services.database.query(sql`select * from api_key_by_id(${named.id}::uuid)`);
  const isTrue = fits(named.secret, row?.secret_hash);
  if (!row || !isTrue || row.revoked_at !== null || row.is_open !== true) return null;
  const [tenantId, userId] = [String(row.tenant_id), String(row.owner_user_id)];
  const scopes = Array.isArray(row.scopes) ? row.scopes.map(String) : [];
  const rows = grantRows(row.grants);
  const bound = grantsOf(
    rows,
    tenantId === ROOT_TENANT,
    (what) => services.log("warn", "a binding names what does not exist", { what }),
  );
  return {
    principal: {
      actor: { type: "key", tenantId, id: named.id },
      tenantId,
      userId,
      sessionId: null,
      grants: narrowed(union(bound, everybodys), scopes),
    },
    expiresAtMs: momentOf(row.expires_at, Infinity),
    lastUsedAtMs: momentOf(row.last_used_at, 0),
    networks: [row.networks, row.key_networks].map((list) =>
      Array.isArray(list) ? list.map(String) : []
    ),
  };
}
