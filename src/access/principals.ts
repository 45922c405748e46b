/** Who a request comes from: an access token or an API key, told apart by how they look. */
import { sql } from "drizzle-orm";
import { createHash, timingSafeEqual } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Principal, Services } from "../context.ts";
import { asSystem, transact } from "../context.ts";
import { ROOT_TENANT } from "../topics.ts";
import { readKey } from "./key_text.ts";
import { narrowed } from "./permissions.ts";
import { type GrantRow, grantsOf } from "./roles.ts";
import { apiKeys } from "../../db/schema/identity.ts";
import { and, eq } from "drizzle-orm";

/** A revoked key, a changed role or a suspended tenant is felt everywhere within this time. */
export const KEY_TTL_MS = 5_000;
const LAST_USED_MS = 60_000;

type Known = { principal: Principal | null; readAt: number; renewing: boolean };

export type Principals = {
  /** Null: nobody, or something that does not hold. */
  find(authorization: string | null, apiKey: string | null): Promise<Principal | null>;
};

/** Remembers verified keys for KEY_TTL_MS and renews those in use ahead of it, off the caller's path. */
export function principals(services: Services): Principals {
  const keys = new LRUCache<string, Known>({ max: 10_000 });
  const reading = new Map<string, Promise<Principal | null>>();
  const used = new LRUCache<string, number>({ max: 10_000 });

  /** One reading however many wait for it; what it says is what holds from its beginning. */
  function fetchKey(digest: string, text: string): Promise<Principal | null> {
    const readAt = services.now().getTime();
    const running = reading.get(digest) ?? readPrincipal(services, text).then((principal) => {
      keys.set(digest, { principal, readAt, renewing: false });
      return principal;
    }).finally(() => reading.delete(digest));
    reading.set(digest, running);
    return running;
  }

  function byKey(text: string): Promise<Principal | null> | Principal | null {
    if (!readKey(text)) return null; // The checksum says so without a query.
    const digest = createHash("sha256").update(text).digest("base64");
    const known = keys.get(digest);
    const age = known ? services.now().getTime() - known.readAt : Infinity;
    if (!known || age >= KEY_TTL_MS) return fetchKey(digest, text);
    if (age >= KEY_TTL_MS / 2 && !known.renewing) {
      known.renewing = true;
      fetchKey(digest, text).catch(() => known.renewing = false);
    }
    return known.principal;
  }

  function noteUse({ tenantId, actor: { id } }: Principal) {
    const now = services.now().getTime();
    if (!id || now - (used.get(id) ?? 0) < LAST_USED_MS) return;
    used.set(id, now);
    transact(
      asSystem(services, tenantId),
      (ctx) =>
        ctx.db.update(apiKeys).set({ lastUsedAt: new Date(now) })
          .where(and(eq(apiKeys.tenantId, tenantId), eq(apiKeys.id, id))),
    )
      .catch((error) => services.log("warn", "last use not written", { error: String(error) }));
  }

  return {
    find: async (authorization, apiKey) => {
      const bearer = /^Bearer ([\x21-\x7e]+)$/i.exec(authorization ?? "")?.[1] ?? null;
      if (authorization !== null && bearer === null) return null;
      const text = bearer ?? apiKey;
      if (text === null) return null;
      if (!text.startsWith("sb_")) {
        return bearer ? await services.tokens.verify(bearer, services.now()) : null;
      }
      const principal = await byKey(text);
      if (principal) noteUse(principal);
      return principal;
    },
  };
}

/** Everything about a key in one query: whether it holds, and what its owner may do now. */
async function readPrincipal(services: Services, text: string): Promise<Principal | null> {
  const named = readKey(text);
  if (!named) return null;
  const [row] = await services.database.query(sql`select * from api_key_by_id(${named.id}::uuid)`);
  const hash = createHash("sha256").update(named.secret).digest("hex");
  const stored = String(row?.secret_hash ?? "").padEnd(hash.length, "-");
  const fits = timingSafeEqual(new TextEncoder().encode(hash), new TextEncoder().encode(stored));
  if (!row || !fits || row.revoked_at !== null || row.is_open !== true) return null;
  if (row.expires_at !== null && new Date(String(row.expires_at)) <= services.now()) return null;
  const [tenantId, userId] = [String(row.tenant_id), String(row.owner_user_id)];
  const scopes = Array.isArray(row.scopes) ? row.scopes.map(String) : [];
  const owners = grantsOf(
    grantRows(row.grants),
    tenantId === ROOT_TENANT,
    (what) => services.log("warn", "a binding names what does not exist", { what }),
  );
  return {
    actor: { type: "key", tenantId, id: named.id },
    tenantId,
    userId,
    sessionId: null,
    grants: narrowed(owners, scopes),
  };
}

const textOf = (value: unknown) => typeof value === "string" ? value : null;

/** The rows of `effective_grants`, from a statement or from JSON. */
export function grantRows(rows: unknown): GrantRow[] {
  const list: unknown = typeof rows === "string" ? JSON.parse(rows) : rows;
  return (Array.isArray(list) ? list : []).map((row: Record<string, unknown>) => ({
    systemRole: textOf(row.system_role),
    permission: textOf(row.permission),
    reach: textOf(row.reach),
    depth: Number(row.depth),
  }));
}
