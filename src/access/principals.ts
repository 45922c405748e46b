/** Who a request comes from: an access token or an API key, told apart by how they look. */
import { and, eq, isNull, lte, or, sql } from "drizzle-orm";
import { apiKeys } from "../../db/schema/access.ts";
import { asSystem, type Principal, type Services, transact } from "../context.ts";
import { Fault } from "../errors.ts";
import { told } from "../log.ts";
import { type Holding, knownKeys } from "./known_keys.ts";
import { isWithin } from "./networks.ts";

const LAST_USED_MS = 60_000;

export type Principals = {
  /**
   * Null: nobody, or something that does not hold. An Authorization header counts before a key.
   * `addressOf` is asked only where it matters. Throws Forbidden for one from outside the networks
   * the tenant acted in or the key is used from, whoever they are: people of a tenant above act
   * below under the lists below. Throws RateLimited for one of too many made-up keys. A token
   * must not have run out by `at`: earlier than now where somebody is asked about again.
   */
  find(
    authorization: string | null,
    apiKey: string | null,
    addressOf?: () => string,
    at?: Date,
  ): Promise<Principal | null>;
};

const elsewhere = () =>
  new Fault(
    "Forbidden",
    "address.not_allowed",
    "Not from this address: ask whoever runs the tenant",
  );

function requireAddress(lists: readonly (readonly string[])[], addressOf: () => string) {
  for (const networks of lists) if (!isWithin(addressOf(), networks)) throw elsewhere();
}

export function principals(services: Services): Principals {
  const keys = knownKeys(services);

  function noteUse(holding: Holding, atMs: number) {
    if (atMs - holding.lastUsedAtMs < LAST_USED_MS) return;
    holding.lastUsedAtMs = atMs;
    writeUse(services, holding, atMs)
      .catch((error) => services.log("warn", "last use not written", { error: told(error) }));
  }

  async function byKey(text: string, addressOf: () => string): Promise<Principal | null> {
    const holding = await keys.of(text, addressOf);
    const nowMs = services.now().getTime();
    if (!holding?.principal || holding.expiresAtMs <= nowMs) return null;
    requireAddress(holding.networks, addressOf);
    noteUse(holding, nowMs);
    return holding.principal;
  }

  return {
    find: async (authorization, apiKey, addressOf = () => "unknown", at = services.now()) => {
      const bearer = /^Bearer ([\x21-\x7e]+)$/i.exec(authorization ?? "")?.[1] ?? null;
      if (authorization !== null && bearer === null) return null;
      const text = bearer ?? apiKey;
      if (text === null) return null;
      if (text.startsWith("sb_")) return await byKey(text, addressOf);
      const token = bearer ? await services.tokens.read(bearer, at) : null;
      const standee = token && await services.standings.ofToken(token);
      if (standee && standee.networks.length > 0) requireAddress([standee.networks], addressOf);
      return standee?.principal ?? null;
    },
  };
}

/** At most once a minute, however many processes see the key. It makes no new version of it. */
function writeUse(services: Services, { tenantId, id }: Holding, atMs: number) {
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
