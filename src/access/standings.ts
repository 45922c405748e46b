/**
 * How somebody stands: what a token's holder may do now, wherever their rights were changed. A token
 * is believed while nothing has changed since it was signed; from then on the database is asked once
 * per change and the answer kept.
 */
import { type SQL, sql } from "drizzle-orm";
import type { Database } from "../../db/client.ts";
import { BoundedMap } from "../bounded_map.ts";
import type { Grants, Principal } from "../context.ts";
import { ROOT_TENANT } from "../topics.ts";
import { everybodys, type GrantRow, grantsOf, untilMsOf } from "./roles.ts";
import { grantRows } from "./grant_rows.ts";
import { union } from "./permissions.ts";
import type { Issued } from "./tokens.ts";

/** Whose standing: a user of `home`, in the tenant `acting`, by a session or by themselves. */
export type Whose = { home: string; subject: string; session: string | null; acting: string };

export type Standing = {
  /** The user is active, every tenant from the one acted in up is, and the session has not ended. */
  holds: boolean;
  /** Empty unless it holds. */
  grants: Grants;
  /** Where one must come from to act in the tenant; anywhere when empty. */
  networks: readonly string[];
  /** Tokens of the user that were ended before their time, by `jti`. */
  revoked: ReadonlySet<string>;
  homeEpoch: number;
  actingEpoch: number;
  /** When the grants change by themselves, in milliseconds since 1970. */
  untilMs: number;
};

/** A standing, at once when it is known and nothing has changed since. */
export type Standings = {
  of(whose: Whose): Standing | Promise<Standing>;
  /**
   * A token's holder as they stand, and where they must come from. Null: it no longer holds. The end
   * of a token may be that of a right: from then on it is not believed.
   */
  ofToken(token: Issued): Standee | null | Promise<Standee | null>;
};
export type Standee = { principal: Principal; networks: readonly string[] };

export type StandingsOptions = {
  database: Database;
  /** How often a tenant's access has changed, as known here lately. */
  epochOf: (tenantId: string) => number | Promise<number>;
  now: () => number;
  unknown: (what: string) => void;
};

const NOWHERE: readonly string[] = [];
/** How far what is known here may lag behind the database, and how long a question is joined. */
const LAG_MS = 5_000;

/** Reads a standing in one query. Within a transaction `query` is the transaction's. */
export async function readStanding(
  query: (statement: SQL) => ReturnType<Database["query"]>,
  { home, subject, session, acting }: Whose,
  unknown: (what: string) => void,
): Promise<Standing> {
  const [row] = await query(
    sql`select * from standing_of(${home}::uuid, ${subject}::uuid, ${session}::uuid, ${acting}::uuid)`,
  );
  const rows = grantRows(row?.grants);
  const holds = row?.holds === true;
  return {
    holds,
    grants: holds ? grantsHeld(rows, { home, acting }, unknown) : {},
    networks: Array.isArray(row?.networks) ? row.networks.map(String) : NOWHERE,
    revoked: new Set(Array.isArray(row?.revoked) ? row.revoked.map(String) : []),
    homeEpoch: Number(row?.home_epoch),
    actingEpoch: Number(row?.acting_epoch),
    untilMs: untilMsOf(rows),
  };
}

/** What `rows` give to a user of `home` who may act in `acting` at all, with what everybody has at home. */
export function grantsHeld(
  rows: readonly GrantRow[],
  { home, acting }: Pick<Whose, "home" | "acting">,
  unknown: (what: string) => void,
): Grants {
  const bound = grantsOf(rows, home === ROOT_TENANT, unknown);
  return home === acting ? union(bound, everybodys) : bound;
}

/** Whose standing, as one text, made once: putting it together costs more than all the rest of a check. */
const keys = new WeakMap<Whose, string>();
function keyOf(whose: Whose): string {
  const known = keys.get(whose);
  if (known !== undefined) return known;
  const key = `${whose.home} ${whose.subject} ${whose.session} ${whose.acting}`;
  keys.set(whose, key);
  return key;
}

type Reading = { answer: Promise<Standing>; startedAtMs: number };
type Held = { standing: Standing; askedAtMs: number };

const isRecent = (sinceMs: number, nowMs: number) => nowMs >= sinceMs && nowMs - sinceMs < LAG_MS;

/** What was answered lately, the newest of each. */
function heldStandings(now: () => number) {
  const held = new BoundedMap<Held>(50_000);
  const isOver = ({ untilMs }: Standing) => untilMs !== Infinity && untilMs <= now();

  /**
   * It may be newer than the epochs known here, while those lag. After that they went back, as those
   * of a database that was restored do.
   */
  function isGood({ standing, askedAtMs }: Held, home: number, acting: number): boolean {
    if (!isAsNew(standing, home, acting) || isOver(standing)) return false;
    const isExact = standing.homeEpoch === home && standing.actingEpoch === acting;
    return isExact || isRecent(askedAtMs, now());
  }

  return {
    at: (key: string, home: number, acting: number): Standing | null => {
      const known = held.get(key);
      return known && isGood(known, home, acting) ? known.standing : null;
    },
    keep: (key: string, it: Held) => {
      const other = held.get(key);
      const isOvertaken = other && isOlder(it.standing, other.standing) &&
        (other.askedAtMs >= it.askedAtMs || isRecent(other.askedAtMs, now()));
      if (!isOvertaken) held.set(key, it);
    },
  };
}

export function standings(o: StandingsOptions): Standings {
  const held = heldStandings(o.now);
  const readings = new Map<string, Reading>();

  /** One reading however many wait for it. What began before a change is not joined after it. */
  function fetchStanding(key: string, whose: Whose): Promise<Standing> {
    const startedAtMs = o.now();
    const answer = readStanding(o.database.query, whose, o.unknown).then((standing) => {
      held.keep(key, { standing, askedAtMs: startedAtMs });
      return standing;
    });
    const reading = { answer, startedAtMs };
    readings.set(key, reading);
    const ended = () => {
      if (readings.get(key) === reading) readings.delete(key);
    };
    answer.then(ended, ended);
    return answer;
  }

  async function fresh(key: string, whose: Whose, home: number, acting: number) {
    const running = readings.get(key);
    if (running && isRecent(running.startedAtMs, o.now())) {
      const standing = await running.answer;
      if (isAsNew(standing, home, acting)) return standing;
      // Of those who waited in vain the first asks again, after all of them came: for all of them.
      const next = readings.get(key);
      if (next && next !== running) return await next.answer;
    }
    return await fetchStanding(key, whose);
  }

  function at(whose: Whose, home: number, acting: number): Standing | Promise<Standing> {
    const key = keyOf(whose);
    return held.at(key, home, acting) ?? fresh(key, whose, home, acting);
  }

  /** Both epochs, at once when both are known. */
  function withEpochs<T>(
    { home, acting }: Whose,
    then: (home: number, acting: number) => T | Promise<T>,
  ): T | Promise<T> {
    const first = o.epochOf(home);
    const second = home === acting ? first : o.epochOf(acting);
    if (typeof first === "number" && typeof second === "number") return then(first, second);
    return Promise.all([first, second]).then(([first, second]) => then(first, second));
  }

  return {
    of: (whose) => withEpochs(whose, (home, acting) => at(whose, home, acting)),
    ofToken: (token) => {
      const { whose } = token;
      return withEpochs(whose, (home, acting) => {
        const isBelieved = !token.isListed && token.expiresAt * 1_000 > o.now();
        if (isBelieved && isAsNew(token, home, acting)) return token.standee;
        const standing = at(whose, home, acting);
        return standing instanceof Promise
          ? standing.then((standing) => standeeOf(token, standing))
          : standeeOf(token, standing);
      });
    },
  };
}

const isAsNew = (
  it: { homeEpoch: number; actingEpoch: number },
  home: number,
  acting: number,
) => it.homeEpoch >= home && it.actingEpoch >= acting;
const isOlder = (it: Standing, other: Standing) => !isAsNew(it, other.homeEpoch, other.actingEpoch);

/** One object for one standing: what is asked for with every request is not made anew. */
const standees = new WeakMap<Standing, Standee>();

function standeeOf({ standee: { principal }, id }: Issued, standing: Standing): Standee | null {
  if (!standing.holds || standing.revoked.has(id)) return null;
  const known = standees.get(standing);
  if (known) return known;
  const { grants, networks } = standing;
  const standee = { principal: { ...principal, grants }, networks };
  standees.set(standing, standee);
  return standee;
}
