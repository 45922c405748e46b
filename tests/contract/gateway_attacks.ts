/** Attacks on the routes that speak OpenAI's API: what is our team's, asked for by another tenant. */
import { newKey } from "../../src/access/key_text.ts";
import { settled } from "../../src/teams/admission.ts";
import type { Principal } from "../../src/context.ts";
import { nobody } from "./attacks.ts";
import { type Battlefield, blank, type Report, type Stance, strike } from "./campaign.ts";
import { fingerprints } from "./catalogue.ts";
import { type Call, type Json, withHeaders } from "./doors.ts";
import { fresh } from "./examples/shape.ts";
import { type Asked, type House, idsOf, type Side } from "./house.ts";
import type { Ours } from "./judge.ts";

const completions = "/v1/chat/completions";
const post = (url: string, body: Json): Call => ({
  url,
  init: {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json" },
  },
});
const get = (url: string): Call => ({ url, init: { method: "GET" } });
const said = { messages: [{ role: "user", content: "hello" }] };

/** Every route once, about a model. */
const asking = (model: string, more: Json = {}): Call[] => [
  post(completions, { ...said, model, ...more }),
  post(completions, { ...said, model, stream: true, ...more }),
  post("/v1/embeddings", { input: "hello", model, ...more }),
  get("/v1/models"),
  get(`/v1/models/${model}`),
  get(`/v1/models/${encodeURIComponent(model)}`),
];

/** A team whose one model is served by an upstream of its tenant's own, `word` in all that is secret. */
async function served({ w }: House, { boss }: Side, word: string, models?: string[]) {
  const { teams, upstreams } = w.as(boss).teams;
  // Whoever names models of others has them served by whom they like.
  const [prefix, apiKey] = [models ? "" : `m${fresh()}/`, `${word}-upstream-key`];
  const baseUrl = `https://${word}.models.example/${fresh()}`;
  await upstreams.create({ name: `${word} models`, modelPrefix: prefix, baseUrl, apiKey });
  const [model = `${prefix}a`] = models ?? [];
  const team = await teams.create({
    displayName: `${word} ${fresh()}`,
    platformName: `${word}-${fresh()}`,
    availableModels: models ?? [model],
    defaultModel: model,
    dailyQuota: 100_000,
  });
  return { team, model, baseUrl, apiKey };
}
type Served = Awaited<ReturnType<typeof served>>;

type Way = { way: string; calls: Call[]; twins?: Call[] };

/** What is named is ours. */
function waysTo({ team, model }: Served, { tenantId, boss: { userId } }: Side, their: Served) {
  const named = {
    ...{ team: team.id, team_id: team.id, tenant_id: tenantId, session_id: userId },
    ...{ platform_name: team.platformName, api_key: team.apiKeyId, user: userId },
  };
  const headers = {
    "x-team-id": team.id,
    "x-tenant-id": tenantId,
    "x-platform-name": team.platformName,
    "openai-organization": tenantId,
    "openai-project": team.id,
    "x-session-user": userId,
    "x-session-id": userId,
  };
  const query = `team_id=${team.id}&tenant_id=${tenantId}&model=${model}`;
  const dressed = (call: Call) => withHeaders(call, headers);
  const theirs = asking(their.model);
  const ways: Way[] = [
    { way: "our model", calls: asking(model), twins: asking(nobody) },
    {
      way: "our model beside theirs",
      calls: asking(their.model, { models: [model] }),
      twins: asking(their.model, { models: [nobody] }),
    },
    { way: "our names as models", calls: [...asking(team.id), ...asking(team.platformName)] },
    { way: "our team in the body", calls: asking(their.model, named) },
    { way: "our team in headers", calls: theirs.map(dressed) },
    {
      way: "our team in the query",
      calls: theirs.map((c) => ({ ...c, url: `${c.url}?${query}` })),
    },
    { way: "our team and our model", calls: asking(model, named).map(dressed) },
  ];
  return ways;
}

type Attacker = {
  who: string;
  headers: Record<string, string>;
  as?: Principal;
  isForged?: boolean;
  /** It names our model among its own, and has an upstream of its own tenant serve it. */
  isListing?: boolean;
};

function attackers({ h, keys, forged, theirs }: Battlefield, our: Served, teamKeys: string[]) {
  const fake = newKey(h.w.process.keyEnvironment, our.team.apiKeyId).text;
  const by = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
  const [plain = "", listing = ""] = teamKeys;
  const all: Attacker[] = [
    { who: "their team", ...by(plain) },
    { who: "their team's X-API-Key", headers: { "x-api-key": plain } },
    { who: "their team that lists it", ...by(listing), isListing: true },
    { who: "their person's key", ...by(keys.person) },
    { who: "their person", headers: {}, as: theirs.boss },
    { who: "a stranger", headers: {} },
  ];
  return all.concat([...forged, fake].map((token) => ({
    who: "a forged credential",
    ...by(token),
    isForged: true,
  })));
}

/** Our own requests reach our upstream with its key, and are counted for our team alone. */
async function control({ h }: Battlefield, our: Served, report: Report) {
  const from = h.asked.length;
  const counted = async () => {
    const [row] = await h.superuser(
      "select admitted, settled from quota_counters where team_id = $1 and period = 'day'",
      [our.team.id],
    );
    return { admitted: Number(row?.admitted ?? 0), settled: Number(row?.settled ?? 0) };
  };
  const before = await counted();
  for (const call of asking(our.model)) {
    const by = { authorization: `Bearer ${our.team.apiKey}` };
    const { url, init } = withHeaders(call, by);
    const answer = await h.w.request(url, init);
    const text = await answer.text();
    if (!answer.ok) report.failures.push(`${init.method} ${url}: ${answer.status} ${text}`);
  }
  await settled(h.w.process);
  const sent = h.asked.slice(from);
  const isRight = ({ url, authorization }: Asked) =>
    url.startsWith(our.baseUrl) && authorization === `Bearer ${our.apiKey}`;
  if (sent.length !== 3 || !sent.every(isRight)) report.failures.push("Our upstream was not asked");
  const after = await counted();
  const [admitted, done] = [after.admitted - before.admitted, after.settled - before.settled];
  if (admitted !== 3 || done !== 3) {
    report.failures.push(`Our quota counts ${admitted} requests, ${done} settled`);
  }
}

/** Both sides' teams, and one of theirs that names our model among its own. */
export async function gatewayFront({ h, ours, theirs, canary }: Battlefield) {
  const our = await served(h, ours, canary);
  const their = await served(h, theirs, "their-own");
  const listing = await served(h, theirs, "their-other", [our.model, their.model]);
  return { our, their, listing };
}
type Front = Awaited<ReturnType<typeof gatewayFront>>;

/** When our own key was last used is written behind the answer. */
const leaving = { api_keys: ["last_used_at"] };

/** The attacks in one stance, after our own requests were let in. */
export async function gatewayCampaign(
  field: Battlefield,
  { our, their, listing }: Front,
  stance: Stance,
): Promise<Report> {
  const { h, ours, canary } = field;
  const report = blank();
  h.lines.length = 0;
  await stance.enter(h);
  await control(field, our, report);
  const known: Ours = { ids: new Set(await idsOf(h, ours.tenantId)), secrets: [canary] };
  const prints = () => fingerprints(h.superuser, h.tables, ours.tenantId, leaving);
  const before = await prints();
  const from = h.asked.length;
  const teamKeys = [their.team.apiKey, listing.team.apiKey];
  for (const { who, headers, as = null, isForged, isListing } of attackers(field, our, teamKeys)) {
    for (const { way, calls, twins = [] } of waysTo(our, ours, their)) {
      for (const [place, call] of calls.entries()) {
        const twin = isListing ? undefined : twins[place];
        await strike(field, report, stance, call.url.split("?")[0] ?? "", {
          way: `${way} by ${who}`,
          call: withHeaders(call, headers),
          as,
          ...twin ? { twin: withHeaders(twin, headers) } : {},
          ...isForged ? { isForged } : {},
        }, known);
      }
    }
  }
  await settled(h.w.process);
  await stance.leave(h);
  const after = await prints();
  const changed = Object.keys(before).filter((table) => before[table] !== after[table]);
  if (changed.length > 0) report.breaches.push(`The gateway let them change our ${changed}`);
  const sent = h.asked.slice(from);
  const stray = sent.find(({ url, authorization }) => `${url} ${authorization}`.includes(canary));
  if (stray) report.breaches.push(`Our upstream was asked for them: ${stray.url}`);
  if (sent.length === 0) report.failures.push("Their own requests were sent nowhere");
  if (h.lines.some((line) => line.includes(our.apiKey))) {
    report.breaches.push("The log says our upstream's key");
  }
  return report;
}

/** What a team has used and may use, whoever asks. */
const booksOf = async ({ superuser }: House, teamId: string) =>
  JSON.stringify(
    await Promise.all(["quota_counters", "quota_leases", "usage_logs", "usage_days"].map((table) =>
      superuser(`select * from ${table} where team_id = $1 order by 1, 2, 3, 4`, [teamId])
    )),
  );

/** The same ways, tried by another team of the same tenant; answers what went wrong. */
export async function siblingCampaign(h: House, side: Side): Promise<string[]> {
  const [our, their] = [await served(h, side, "first"), await served(h, side, "second")];
  const before = await booksOf(h, our.team.id);
  const wrong: string[] = [];
  for (const { way, calls } of waysTo(our, side, their)) {
    for (const call of calls) {
      const by = { authorization: `Bearer ${their.team.apiKey}` };
      const { url, init } = withHeaders(call, by);
      const answer = await h.w.request(url, init);
      const text = await answer.text();
      if (answer.ok && text.includes(our.model)) wrong.push(`${way} at ${url}: ${text}`);
      if (answer.status >= 500) wrong.push(`${way} at ${url}: ${answer.status} ${text}`);
    }
  }
  await settled(h.w.process);
  if (await booksOf(h, our.team.id) !== before) wrong.push("The first team's books have changed");
  if (await booksOf(h, their.team.id) === "[[],[],[],[]]") wrong.push("Nothing was let in at all");
  return wrong;
}
