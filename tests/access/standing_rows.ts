/** A database that knows one person, for tests of how somebody stands. */
import { PgDialect } from "drizzle-orm/pg-core";
import type { Database } from "../../db/client.ts";
import { isNamed } from "../../db/named_queries.ts";
import type { Whose } from "../../src/access/standings.ts";
import type { Issued } from "../../src/access/tokens.ts";

export const ada: Whose = { home: "harbour", subject: "ada", session: "tab", acting: "harbour" };
export const below: Whose = { ...ada, acting: "below" };

export type Row = Record<string, unknown>;
/** What the database holds of everybody, and how it answers. */
export const truth = () => ({
  role: "auditor" as string | null,
  networks: [] as string[],
  revoked: [] as string[],
  until: null as string | null,
  epochs: new Map([["harbour", 3], ["below", 5]]),
});
export type Truth = ReturnType<typeof truth>;

export function rowOf(
  { role, networks, revoked, until, epochs }: Truth,
  home: string,
  acting: string,
) {
  const grant = { system_role: role, depth: 0, passes: true, is_current: true, is_active: true };
  return {
    holds: role !== null,
    grants: role === null ? [] : [{ ...grant, permission: null, reach: null, until }],
    networks: [...networks],
    revoked: [...revoked],
    home_epoch: String(epochs.get(home) ?? 0),
    acting_epoch: String(epochs.get(acting) ?? 0),
  };
}

const dialect = new PgDialect();
export const namesIn = (...[statement]: Parameters<Database["query"]>) =>
  (isNamed(statement) ? statement.values : dialect.sqlToQuery(statement).params).map(String);

export function databaseOf(query: Database["query"]): Database {
  const no = () => Promise.reject(new Error("only asked"));
  return { driver: "embedded", role: null, transaction: no, close: no, query };
}

/** A token of `whose`, signed when the epochs stood so. */
export function tokenOf(whose: Whose, more: Partial<Issued> = {}): Issued {
  const { home, subject: id, session: sessionId, acting: tenantId } = whose;
  const actor = { type: "user" as const, tenantId: home, id };
  return {
    id: "jti 1",
    whose,
    standee: {
      principal: { actor, tenantId, userId: id, sessionId, grants: { "roles.read": "tenant" } },
      networks: [],
    },
    homeEpoch: 3,
    actingEpoch: whose.acting === "harbour" ? 3 : 5,
    isListed: false,
    expiresAt: Infinity,
    notBefore: 0,
    ...more,
  };
}
