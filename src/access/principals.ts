/** Who a request comes from: an access token or an API key, told apart by how they look. */
import { type Batcher, batcher, LATER_MS } from "../batches.ts";
import type { Principal, Services } from "../context.ts";
import { Fault, isAway } from "../errors.ts";
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
  const uses = writing(services);

  function noteUse(holding: Holding, atMs: number) {
    if (atMs - holding.lastUsedAtMs < LAST_USED_MS) return;
    holding.lastUsedAtMs = atMs;
    const { tenantId, id } = holding;
    uses.ask({ tenant: tenantId, id, at: new Date(atMs) })
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

type Use = { tenant: string; id: string; at: Date };

/**
 * Writes when keys were used, a while later and together: at most once a minute each, however many
 * processes see it. It makes no new version of a key.
 */
function writing({ database }: Services): Batcher<Use, true> {
  return batcher<Use, true>(async (uses) => {
    const told = JSON.stringify(uses);
    await database.query({
      name: "api_keys_used",
      text: "select api_keys_used($1::jsonb)",
      values: [told],
    });
    return uses.map(() => true);
  }, { most: 200, lanes: 1, gatherMs: LATER_MS, isEverybodys: isAway });
}
