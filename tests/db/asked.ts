/** What a verb asks the database, and how the database goes about it. */
import { Client } from "@neondatabase/serverless";
import type { Sql } from "postgres";

export type Asked = { text: string; values: unknown[] };
export type Node = Record<string, unknown>;

/** What Neon's driver is asked while `work` runs, the tenant's setting apart. */
export async function heard(work: () => Promise<unknown>): Promise<Asked[]> {
  const asked: Asked[] = [];
  const { query } = Client.prototype;
  const listening = function (this: Client, ...said: [{ text?: string }, unknown[]?]): unknown {
    const [{ text }, values = []] = said;
    if (text && /^select/i.test(text) && !text.includes("set_config")) asked.push({ text, values });
    return Reflect.apply(query, this, said);
  };
  Object.assign(Client.prototype, { query: listening });
  try {
    await work();
  } finally {
    Object.assign(Client.prototype, { query });
  }
  return asked;
}

/** The nodes of its plan, run in the tenant as the login of `sql`, and how long that took. */
export async function planOf(sql: Sql, tenantId: string, { text, values }: Asked) {
  const [row] = await sql.begin(async (sql) => {
    await sql`select set_config('app.tenant_id', ${tenantId}, true)`;
    return await sql.unsafe(`explain (analyze, format json) ${text}`, values.map(String));
  });
  const [{ Plan: plan, "Execution Time": ms }] = row?.["QUERY PLAN"];
  return { nodes: nodesOf(plan), ms: Number(ms) };
}

function nodesOf(plan: Node): Node[] {
  const below = Array.isArray(plan.Plans) ? plan.Plans : [];
  return [plan, ...below.flatMap(nodesOf)];
}

/** How many rows a scan has looked at. */
export const looked = (node: Node): number =>
  (Number(node["Actual Rows"]) + Number(node["Rows Removed by Filter"] ?? 0)) *
  Number(node["Actual Loops"] ?? 1);

/** A month that is to come or has just begun fits on a few pages: the planner may as well read them in order. */
const A_FEW = 1_000;
const isOfAFew = (node: Node) => node["Node Type"] === "Seq Scan" && looked(node) <= A_FEW;

/** How a plan comes to its rows, where that tells of anything. */
export const scansOf = (nodes: readonly Node[]): Node[] =>
  nodes.filter((node) => String(node["Node Type"]).endsWith("Scan") && !isOfAFew(node));

/** Scans of whole tables. */
export const wholeScans = (scans: readonly Node[]): Node[] =>
  scans.filter((node) => node["Node Type"] === "Seq Scan");
