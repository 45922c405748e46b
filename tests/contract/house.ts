/** Two tenants side by side: ours has one of everything, theirs may do everything and owns little. */
import { v7 } from "uuid";
import { entriesOf } from "../../routers/procedures.ts";
import { appRouter } from "../../routers/mod.ts";
import { permissions } from "../../src/access/permissions.ts";
import { asSystem, type Grants, type Principal, type Reach } from "../../src/context.ts";
import type { Limit } from "../../src/limits/limiter.ts";
import type { Answering, Outbound } from "../../src/outbound.ts";
import { at } from "../../src/secrets/places.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import * as tenants from "../../src/identity/tenants.ts";
import { environment, type Person, procedures, world } from "../kit.ts";
import { getTableColumns } from "drizzle-orm";
import { toSnakeCase } from "drizzle-orm/casing";
import { PgColumn } from "drizzle-orm/pg-core";
import { belongsTo, everyones, type Table, tables } from "./catalogue.ts";
import { drizzleTables, fill, type RowMaker } from "./rows.ts";
import { tapped } from "./tap.ts";

/** Every permission there is, as far as `reach`. */
export const everything = (reach: Reach, but?: string): Grants =>
  Object.fromEntries(permissions.filter((p) => p !== but).map((p) => [p, reach]));

/** Everything about every procedure. */
export const entries = entriesOf(appRouter);
/** Those whose answer comes piece by piece: they have no place in REST. */
export const streams = procedures().filter(({ type }) => type === "subscription");

/** Someone with every permission in one tenant, and the words to make things there. */
export type Side = { tenantId: string; boss: Person; password: string; email: string };

export type House = Awaited<ReturnType<typeof house>>;

/** What was asked of a far side, and with which credential. */
export type Asked = { url: string; authorization: string };

/** A world on a tapped database, its log kept. */
export async function house() {
  const lines: string[] = [];
  const { database, tap, superuser, login } = await tapped();
  const w = await world({
    database,
    env: await environment({ LOG_LEVEL: "debug" }),
    write: (line) => void lines.push(line),
  });
  // Nobody is slowed down here, and no provider is asked: an attack must not pass for its noise.
  const { take } = w.process.limiter;
  const asked: Asked[] = [];
  let turn = 0;
  Object.assign(w.process, {
    limiter: {
      take: (limit: Limit, key: string) => take(limit, `${key}:${turn++}`),
      agrees: () => true,
    },
    outbound: farSide(asked),
    answering: plainly(farSide(asked)),
  });
  const all = await tables(superuser);
  const side = async (parent: string, name: string): Promise<Side> => {
    const { id: tenantId } = await tenants.create(asSystem(w.process, parent), { name });
    const [email, password] = [`${v7()}@people.example`, `password ${crypto.randomUUID()}`];
    const boss = await w.person(tenantId, "owner", {
      email,
      password,
      grants: everything("tenant"),
    });
    return { tenantId, boss, password, email };
  };
  const root: Side = {
    tenantId: ROOT_TENANT,
    boss: { ...w.operator, grants: everything("global") },
    password: "",
    email: "",
  };
  await w.as(w.operator).teams.upstreams.create({ name: "Models", baseUrl: `${MODELS}/v1` });
  return { w, tap, superuser, login, tables: all, lines, asked, side, root, close: w.close };
}

/** Where every model is served that no tenant serves itself. */
const MODELS = "https://models.example";

/** What Telegram answers but `true`. */
const botAnswers: Record<string, unknown> = {
  getMe: { id: 7, is_bot: true, first_name: "Far", username: "far_side_bot" },
  getWebhookInfo: { url: "" },
};

/** Answers as a provider's token endpoint, a model and a Bot API do, whatever is asked, and notes that. */
const farSide = (asked: Asked[]): Outbound => (url, { headers } = {}) => {
  const authorization = new Headers(headers).get("authorization") ?? "";
  asked.push({ url: String(url), authorization });
  const [, method] = /\/bot\d+:[^/]*\/(\w+)$/.exec(String(url)) ?? [];
  if (method) {
    return Promise.resolve(Response.json({ ok: true, result: botAnswers[method] ?? true }));
  }
  return Promise.resolve(Response.json({
    access_token: `provider-token-${crypto.randomUUID()}`,
    refresh_token: `provider-refresh-${crypto.randomUUID()}`,
    token_type: "bearer",
    expires_in: 3600,
    sub: crypto.randomUUID(),
    choices: [{ index: 0, message: { role: "assistant", content: `Heard at ${url}` } }],
    usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 },
  }));
};

/** The same for who wants no Response. */
const plainly = (call: Outbound): Answering => async (url, init) => {
  const response = await call(url, init);
  const body = new Uint8Array(await response.arrayBuffer());
  return { status: response.status, headers: [...response.headers], body };
};

/** A platform of the catalogue, made by the operator, active. */
export async function platform({ w }: House, more: Record<string, unknown> = {}) {
  const { platform } = await w.as(w.operator).platforms.catalogue.create({
    name: `Post ${crypto.randomUUID()}`,
    serviceType: "email",
    authUrl: "https://provider.example/authorize",
    tokenUrl: "https://provider.example/token",
    apiHosts: ["https://api.provider.example"],
    ...more,
  });
  return platform;
}

/** Gives `side` a row in every table, canaries in it. Answers the rows by table. */
export async function furnish(
  house: House,
  side: Side,
  canary: string,
): Promise<RowMaker["known"]> {
  const { w, superuser, tables } = house;
  const ctx = asSystem(w.process, side.tenantId);
  await w.process.secrets.ready(ctx);
  const { id } = await platform(house);
  const known: RowMaker["known"] = new Map();
  for (const table of tables.filter(({ isTenant }) => !isTenant)) {
    const mine = table.name === "platforms" ? "id = $1" : belongsTo(table) ?? "true";
    const key = table.name === "platforms" ? [id] : mine.includes("$1") ? [side.tenantId] : [];
    const [row] = await superuser(`select * from "${table.name}" where ${mine} limit 1`, key);
    if (row) known.set(table.name, row);
  }
  const maker: RowMaker = {
    ask: superuser,
    tenantId: side.tenantId,
    canary: (table, column) => `${canary}-${table}-${column}`.replaceAll("_", "-"),
    seal: (table, row, column, plain) =>
      w.process.secrets.seal(ctx, at(columnOf(table, column), row), plain),
    known,
  };
  await fill(maker, tables);
  return known;
}

function columnOf(table: string, name: string): PgColumn {
  const columns = Object.entries(getTableColumns(drizzleTables.get(table) ?? missing(table)));
  const [, column] = columns.find(([key]) => toSnakeCase(key) === name) ?? missing(name);
  return column instanceof PgColumn ? column : missing(name);
}

function missing(name: string): never {
  throw new Error(`db/schema does not know ${name}`);
}

/** Every id that names something of a tenant. */
export async function idsOf({ superuser, tables }: House, tenantId: string): Promise<string[]> {
  const parts = tables.flatMap((table) => {
    const mine = belongsTo(table);
    const isNamed = table.columns.some(({ name, type }) => name === "id" && type === "uuid");
    if (!mine || everyones.has(table.name) || !isNamed) return [];
    return `select id from "${table.name}" where ${mine}`;
  });
  const rows = await superuser(parts.join(" union "), [tenantId]);
  return [tenantId, ...rows.map(({ id }) => String(id))];
}

export const withReach = (principal: Principal, reach: Reach): Principal => ({
  ...principal,
  grants: everything(reach),
});
export type { Table };
