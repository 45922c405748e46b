/**
 * What API keys are worth, remembered: a key is believed while nothing has changed in its tenant
 * since its row was read, and read again once per change.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { type Batcher, batcher, LATER_MS } from "../batches.ts";
import { BoundedMap } from "../bounded_map.ts";
import type { Grants, Principal, Services } from "../context.ts";
import { isAway } from "../errors.ts";
import { ROOT_TENANT } from "../topics.ts";
import { grantRows } from "./grant_rows.ts";
import { readKey } from "./key_text.ts";
import { narrowed, union } from "./permissions.ts";
import { everybodys, grantsOf, teamsKeys, untilMsOf } from "./roles.ts";
import { unknownKeys } from "./unknown_keys.ts";

/** A revoked key, a changed role or a suspended tenant is felt everywhere within this time. */
export const KEY_TTL_MS = 5_000;
/** However quiet a tenant is, a row is read again after this: what raised no epoch is felt as well. */
export const KEPT_MS = 60_000;
const LONGEST = 128;

/** What a key's row says, as it stood at `readAtMs` or later. */
export type Holding = {
  /** Null: it is revoked, or its owner or tenant is not active. */
  principal: Principal | null;
  tenantId: string;
  id: string;
  expiresAtMs: number;
  lastUsedAtMs: number;
  /** The tenant's and the key's own: one must come from within both. */
  networks: readonly (readonly string[])[];
  epoch: number;
  untilMs: number;
};
type Known = { holding: Holding; readAtMs: number; isRenewing: boolean };
type Reading = { answer: Promise<Holding | null>; startedAtMs: number };

export type KnownKeys = {
  /** Null: no such key. Throws RateLimited for one of too many that were made up. */
  of(text: string, addressOf: () => string): Holding | null | Promise<Holding | null>;
};

type Keep = (text: string, holding: Holding | null, readAtMs: number) => void;

/** Readings of rows, each made once however many wait for it. */
function readings(services: Services, keep: Keep) {
  const underWay = new Map<string, Reading>();
  const nowMs = () => services.now().getTime();
  return {
    /** What it says is what held at its beginning or later. */
    begin(text: string): Promise<Holding | null> {
      const startedAtMs = nowMs();
      const answer = readHoldings(services, [text]).then(([holding = null]) => {
        keep(text, holding, startedAtMs);
        return holding;
      });
      const reading = { answer, startedAtMs };
      underWay.set(text, reading);
      const ended = () => {
        if (underWay.get(text) === reading) underWay.delete(text);
      };
      answer.then(ended, ended);
      return answer;
    },
    /** Not one that hangs: its answer may be as old as its question. */
    running(text: string): Promise<Holding | null> | undefined {
      const reading = underWay.get(text);
      return reading && nowMs() - reading.startedAtMs < KEY_TTL_MS ? reading.answer : undefined;
    },
  };
}

/** Reads the rows of keys in use again, a while later and together: nobody waits for them. */
function renewals(services: Services, keep: Keep): Batcher<string, true> {
  return batcher<string, true>(async (due) => {
    const startedAtMs = services.now().getTime();
    const holdings = await readHoldings(services, due);
    due.forEach((text, place) => keep(text, holdings[place] ?? null, startedAtMs));
    return due.map(() => true);
  }, { most: 200, lanes: 1, gatherMs: LATER_MS, isEverybodys: isAway });
}

export function knownKeys(services: Services): KnownKeys {
  // By their texts: a digest of each takes longer than all else that is looked at.
  // Apart, so that made-up keys do not push out those that are in use.
  const known = new BoundedMap<Known>(10_000);
  const unknown = new BoundedMap<number>(1_000);
  const strangers = unknownKeys(services.limiter);
  const ours = `sb_${services.keyEnvironment}_`;
  const nowMs = () => services.now().getTime();

  function keep(text: string, holding: Holding | null, readAtMs: number) {
    if (!holding) {
      known.delete(text);
      unknown.set(text, readAtMs);
      return;
    }
    const other = known.get(text);
    const isOlder = other && (other.holding.epoch > holding.epoch ||
      (other.holding.epoch === holding.epoch && other.readAtMs > readAtMs &&
        other.readAtMs <= nowMs()));
    if (!isOlder) known.set(text, { holding, readAtMs, isRenewing: false });
  }
  const { begin, running } = readings(services, keep);
  const renewing = renewals(services, keep);

  async function fresh(text: string, epoch: number) {
    const joined = await running(text);
    // Of those who waited in vain the first asks again, for all of them.
    return joined && joined.epoch >= epoch ? joined : await (running(text) ?? begin(text));
  }

  function at(text: string, it: Known, epoch: number) {
    const { holding, readAtMs } = it;
    const ageMs = nowMs() - readAtMs;
    const isGood = holding.epoch >= epoch && holding.untilMs > nowMs() &&
      ageMs >= 0 && ageMs < KEPT_MS;
    if (!isGood) return fresh(text, epoch);
    if (ageMs >= KEPT_MS / 2 && !it.isRenewing) {
      it.isRenewing = true; // Ahead of its end, off the caller's path.
      renewing.ask(text).catch(() => it.isRenewing = false);
    }
    return holding;
  }

  async function stranger(text: string, addressOf: () => string) {
    if (!readKey(text)) return null; // The checksum says so without a query.
    const ageMs = nowMs() - (unknown.get(text) ?? -Infinity);
    if (ageMs >= 0 && ageMs < KEY_TTL_MS) return null;
    return await (running(text) ??
      strangers.ask(addressOf(), () => running(text) ?? begin(text)));
  }

  return {
    of: (text, addressOf) => {
      // Not worth a look; or another installation's, whatever its checksum says.
      if (text.length > LONGEST || !text.startsWith(ours)) return null;
      const it = known.get(text);
      if (!it) return stranger(text, addressOf);
      const epoch = services.cache.epochOf(it.holding.tenantId, "access");
      return typeof epoch === "number"
        ? at(text, it, epoch)
        : epoch.then((epoch) => at(text, it, epoch));
    },
  };
}

const momentOf = (value: unknown, absent: number) =>
  value === null || value === undefined ? absent : new Date(String(value)).getTime();

const digest = (text: string) => createHash("sha256").update(text).digest();

/** Whether `stored` is the hash of `secret`, in a time that does not tell where they differ. */
const fits = (secret: string, stored: unknown) =>
  timingSafeEqual(digest(digest(secret).toString("hex")), digest(String(stored)));

const wordsOf = (list: unknown) => Array.isArray(list) ? list.map(String) : [];

/** What its holder may do, as far as the key's scopes: an owner what they may, a team chat. */
function heldBy(row: Record<string, unknown>, bound: Grants): Pick<Principal, "grants" | "team"> {
  const scopes = wordsOf(row.scopes);
  if (row.team_id === null) return { grants: narrowed(union(bound, everybodys), scopes) };
  const team = { id: String(row.team_id), familyId: String(row.family_id) };
  return { grants: narrowed(teamsKeys, scopes), team };
}

/**
 * Everything about keys in one query: whether each holds, and what its owner may do now. They come in
 * the order of their texts; null: no such key.
 */
async function readHoldings(
  services: Services,
  texts: readonly string[],
): Promise<(Holding | null)[]> {
  const named = texts.map(readKey);
  const ids = JSON.stringify(named.flatMap((key) => key ? [key.id] : []));
  const rows = await services.database.query(
    {
      name: "api_keys_by_id",
      text: `select w.id as wanted, k.* from jsonb_array_elements_text($1::jsonb) w (id)
        cross join lateral api_key_by_id(w.id::uuid) k`,
      values: [ids],
    },
  );
  const byId = new Map(rows.map((row) => [String(row.wanted), row]));
  return named.map((key) => {
    const row = key && byId.get(key.id);
    // Compared in any case: how long that takes tells nothing.
    const isTrue = key !== null && fits(key.secret, row?.secret_hash);
    return key && row && isTrue ? holdingOf(services, key.id, row) : null;
  });
}

function holdingOf(services: Services, id: string, row: Record<string, unknown>): Holding {
  const tenantId = String(row.tenant_id);
  const rows = grantRows(row.grants);
  const bound = grantsOf(
    rows,
    tenantId === ROOT_TENANT,
    (what) => services.log("warn", "a binding names what does not exist", { what }),
  );
  const holds = row.revoked_at === null && row.is_open === true;
  return {
    principal: holds
      ? {
        actor: { type: "key", tenantId, id },
        tenantId,
        userId: row.owner_user_id === null ? null : String(row.owner_user_id),
        sessionId: null,
        ...heldBy(row, bound),
      }
      : null,
    tenantId,
    id,
    expiresAtMs: momentOf(row.expires_at, Infinity),
    lastUsedAtMs: momentOf(row.last_used_at, 0),
    networks: [row.networks, row.key_networks].map(wordsOf).filter(({ length }) => length > 0),
    epoch: Number(row.epoch),
    untilMs: untilMsOf(rows),
  };
}
