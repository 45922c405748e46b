/** What is kept of requests in several places, and whether these agree. */
import type { House } from "../db/house.ts";

const sums = (of: string) => `
  select tenant_id, team_id, day_on, model, api_key_id, user_id, ${of} from`;
/** Two accounts of one thing, each as a query: what the rows say, and what was kept of them. */
const accounts = {
  "usage_days as usage_logs say": `${
    sums(`count(*), count(*) filter (where outcome in ('failed', 'cut', 'lost')),
      sum(input_tokens), sum(output_tokens), coalesce(sum(cost_micros), 0),
      count(*) filter (where cost_micros is null), count(latency_ms),
      coalesce(sum(latency_ms), 0), coalesce(max(latency_ms), 0)`)
  } usage_logs group by 1, 2, 3, 4, 5, 6`,
  "usage_days": `${
    sums(`requests, errors, input_tokens, output_tokens, cost_micros, unpriced, timed, latency_ms,
      max_latency_ms`)
  } usage_days`,
  "quota_counters as rows say": `
    select tenant_id, team_id, period, starts_on, count(*), count(*) filter (where is_settled) from (
      select tenant_id, team_id, 'day' as period, day_on as starts_on, true as is_settled
      from usage_logs
      union all select tenant_id, team_id, 'month', date_trunc('month', day_on)::date, true
      from usage_logs
      union all select tenant_id, team_id, 'day', day_on, false from quota_leases
      union all select tenant_id, team_id, 'month', month_on, false from quota_leases
    ) r group by 1, 2, 3, 4`,
  "quota_counters": `
    select tenant_id, team_id, period, starts_on, admitted, settled from quota_counters
    where admitted > 0 or settled > 0`,
};
const pairs: [keyof typeof accounts, keyof typeof accounts][] = [
  ["usage_days as usage_logs say", "usage_days"],
  ["quota_counters as rows say", "quota_counters"],
];

/** Every line of one account that the other does not have; none when the books are in order. */
export async function disagreements({ admin }: Pick<House, "admin">): Promise<string[]> {
  const lines = await Promise.all(
    pairs.flatMap(([one, two]) =>
      [[one, two] as const, [two, one] as const].map(async ([has, lacks]) => {
        const rows = await admin(
          `select row(x.*)::text as line from (${accounts[has]} except ${
            accounts[lacks]
          }) x limit 20`,
        );
        return rows.map(({ line }) => `only ${has}: ${line}`);
      })
    ),
  );
  return lines.flat();
}

/** What came of a team's requests, in all. */
export async function totals({ admin }: Pick<House, "admin">, teamId: string) {
  const [row] = await admin(`select
    (select count(*) from usage_logs where team_id = '${teamId}') as rows,
    (select count(*) from quota_leases where team_id = '${teamId}') as leases,
    (select coalesce(sum(requests), 0) from usage_days where team_id = '${teamId}') as requests,
    (select sum(admitted) from quota_counters where team_id = '${teamId}' and period = 'day')
      as admitted_day,
    (select sum(settled) from quota_counters where team_id = '${teamId}' and period = 'day')
      as settled_day,
    (select sum(admitted) from quota_counters where team_id = '${teamId}' and period = 'month')
      as admitted_month,
    (select sum(settled) from quota_counters where team_id = '${teamId}' and period = 'month')
      as settled_month`);
  return Object.fromEntries(Object.entries(row ?? {}).map(([name, n]) => [name, Number(n)]));
}

/** Makes every lease one whose process was heard of no more. */
export const expireAll = ({ admin }: Pick<House, "admin">) =>
  admin(`update quota_leases set expires_at = now() - interval '1 second'`);
