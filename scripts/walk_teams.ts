/** The chapter about teams: made, chatted with by a real OpenAI client, limited, spoken to over Telegram, added up. */
import { openaiClients } from "../tests/clients/openai_clients.ts";
import { type Telegram, telegram } from "../tests/stand_ins/telegram.ts";
import { home, mira, said, written } from "../tests/stand_ins/telegram_people.ts";
import { type Narrator, NotAsSaid } from "./narrator.ts";
import type { DemoWorld } from "./seed.ts";
import { type Person, personOf } from "./walk.ts";

type Made = { id: string; platformName: string; apiKey: string };
type Story = { told: Narrator; world: DemoWorld; admin: Person; member: Person; team: Made };

const MODEL = "dev/echo";
const DAY = 3;

async function makeTeam({ told, admin, world }: Omit<Story, "team">): Promise<Made> {
  told.chapter("A company makes a team: a name, a quota, a key");
  const created = await admin.call("/v1/admin/teams", {
    method: "POST",
    body: JSON.stringify({
      display_name: `Counter ${crypto.randomUUID().slice(0, 8)}`,
      platform_name: `HOSCO-${crypto.randomUUID().slice(0, 8)}`,
      platform_type: "private",
      daily_quota: DAY,
      available_models: [MODEL],
    }),
  });
  const team = await created.json();
  const { api_key, warning, ...rest } = team;
  told.check("POST /v1/admin/teams answers 201 with the key, once", created.status === 201, {
    platform_name: rest.platform_name,
    daily_quota: rest.daily_quota,
    warning,
  });
  const effective = await admin.client.trpc.teams.teams.effective.query({ id: team.id });
  const { model, rateLimit, origins } = effective;
  const isRight = model === MODEL && origins.availableModels === "team" &&
    origins.rateLimit === "platform_type";
  told.check("What counts for it, and where each value comes from", isRight, {
    model,
    rateLimit,
    origins,
  });
  const again = await admin.call(`/api/v1/teams/${team.id}`);
  told.check("The key is not shown again", !(await again.text()).includes(api_key));
  told.tell(`The demo's own team is ${world.team.platform_name}, in demo.json`);
  return { id: team.id, platformName: team.platform_name, apiKey: api_key };
}

async function useClient({ told, world, team }: Story) {
  told.chapter("The openai package, unmodified, chats with the team's key");
  await using clients = openaiClients();
  const at = { url: `${world.url}/v1`, key: team.apiKey, client: "openai" } as const;
  const body = { model: MODEL, messages: [{ role: "user", content: "When do you open?" }] };
  const streamed = await clients.ask({ ...at, call: "chat", body: { ...body, stream: true } });
  const pieces = streamed.chunks.length;
  told.check("It streams an answer", !streamed.error && pieces > 1 && streamed.text !== "", {
    pieces,
    text: streamed.text,
  });
  const left = streamed.headers["x-quota-remaining-day"];
  told.check("Each answer says what is left of the day's quota", left === String(DAY - 1), left);
  const other = { ...body, model: "openai/gpt-4" };
  const refused = await clients.ask({ ...at, call: "chat", body: other });
  const code = refused.error?.code;
  told.check("A model outside its list is refused", code === "model_not_allowed", refused.error);
  for (let n = 1; n < DAY; n++) await clients.ask({ ...at, call: "chat", body });
  const over = await clients.ask({ ...at, call: "chat", body, maxRetries: 3 });
  const isOver = over.error?.code === "insufficient_quota" && over.attempts === 1;
  told.check("The quota holds, and the client does not try again in vain", isOver, {
    ...over.error,
    attempts: over.attempts,
  });
}

/** Waits for what a bot sends. */
async function saidBy(bot: Telegram, count: number): Promise<string[]> {
  for (let tries = 0; tries < 200 && bot.sent.length < count; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return bot.sent.map(({ text }) => text);
}

async function talkOverTelegram({ told, admin, team }: Story) {
  told.chapter("The same team as a Telegram bot");
  await using bot = telegram();
  const { teams } = admin.client.trpc;
  await teams.teams.update.mutate({ id: team.id, dailyQuota: null });
  const { channel } = await teams.channels.create.mutate({
    teamId: team.id,
    kind: "telegram",
    name: "The bakery's bot",
    token: bot.token,
    apiRoot: bot.url,
  });
  const { botName } = await teams.channels.connect.mutate({ id: channel.id });
  const { url } = bot.webhook;
  told.check("The bot is connected: Telegram knows where to send", url === channel.url, botName);
  const first = Date.now();
  const updates = ["/start", "Do you have rye bread?", "/status"].map((text, n) => ({
    update_id: first + n,
    message: written(home, mira, { ...said(text), message_id: n + 1 }),
  }));
  for (const update of [...updates, ...updates.slice(1, 2)]) await bot.deliver(update);
  const answers = await saidBy(bot, updates.length);
  const isOnce = answers.length === updates.length && /rye bread/i.test(answers[1] ?? "");
  told.check("It answers in order, and once for an update that came twice", isOnce, answers);
  await teams.channels.deactivate.mutate({ id: channel.id });
}

async function addUp({ told, admin, team }: Story) {
  told.chapter("What the team used, and what it cost");
  const list = () =>
    admin.client.trpc.teams.usage.list.query({ teamId: team.id, groupBy: ["model"] });
  let { usage } = await list();
  for (let tries = 0; tries < 40 && (usage[0]?.requests ?? 0) < DAY + 1; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    ({ usage } = await list());
  }
  const [row] = usage;
  const isAll = row?.requests === DAY + 1 && row.costMicros !== null;
  told.check("Every admitted request is in the sums, with its tokens and cost", isAll, row);
  const csv = await (await admin.call(`/api/v1/usage.csv?team_id=${team.id}`)).text();
  told.check("The same as a table", csv.split("\r\n").length >= 3, csv);
}

export async function walkTeams(world: DemoWorld, told: Narrator): Promise<void> {
  const [ours] = world.tenants;
  if (!ours) throw new NotAsSaid("demo.json names a company");
  const [admin, member] = [
    await personOf(world.url, ours.admin),
    await personOf(world.url, ours.member),
  ];
  const start = { told, world, admin, member };
  const story: Story = { ...start, team: await makeTeam(start) };
  await useClient(story);
  await talkOverTelegram(story);
  await addUp(story);
}
