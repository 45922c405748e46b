/** A world whose teams are spoken to over channels: a bot, a model that answers, and time that can pass. */
import { v7 } from "uuid";
import { chatsAtRest, workDue } from "../../../src/teams/channels/desks.ts";
import { until } from "../../db/house.ts";
import { environment, freshDatabase, type Person, world } from "../../kit.ts";
import { openaiUpstream } from "../../stand_ins/openai.ts";
import { type Telegram, telegram } from "../../stand_ins/telegram.ts";
import { home, mira, said, type Written, written } from "../../stand_ins/telegram_people.ts";
import { noonZone } from "../noon.ts";

export const MODEL = "dev/echo";
export const OTHER = "dev/no-usage";

type Row = Record<string, unknown>;

type World = Awaited<ReturnType<typeof world>>;

/** Teams, and bots that are connected to them. */
function teamsOf(w: World) {
  type TeamInput = Parameters<ReturnType<typeof w.as>["teams"]["teams"]["create"]>[0];
  /** A team in a tenant of its own unless one is given. */
  const team = async (more: Partial<TeamInput> = {}, by?: Person) => {
    const admin = by ?? (await w.tenant()).admin;
    const name = v7();
    const { id } = await w.as(admin).teams.teams.create({
      displayName: `Team ${name}`,
      platformName: name,
      platformType: "private",
      rateLimit: 1_000,
      availableModels: [MODEL, OTHER],
      ...more,
    });
    return { admin, tenantId: admin.tenantId, teamId: id };
  };

  const deliver = (request: Request) => Promise.resolve(w.hono.fetch(request));
  /** A team's bot, connected. */
  const bot = async (more: Partial<TeamInput> = {}, by?: Person) => {
    const made = await team(more, by);
    const server = telegram({ reach: deliver });
    const { teams } = w.as(made.admin);
    const { channel, secret } = await teams.channels.create({
      teamId: made.teamId,
      kind: "telegram",
      name: "Bot",
      token: server.token,
      apiRoot: server.url,
    });
    await teams.channels.connect({ id: channel.id });
    return { ...made, server, channelId: channel.id, path: new URL(channel.url).pathname, secret };
  };
  return { team, bot };
}

export async function house(variables: Record<string, string> = {}) {
  const lines: string[] = [];
  /** `patienceMs`: how long a platform may take to answer. */
  const clock = { aheadMs: 0, patienceMs: 10_000 };
  const database = await freshDatabase();
  await database.admin(`alter table tenants alter column time_zone set default '${noonZone()}'`);
  const w = await world({
    database,
    env: await environment({ LOG_LEVEL: "debug", ...variables }),
    now: () => new Date(Date.now() + clock.aheadMs),
    write: (line) => void lines.push(line),
  });
  const model = await openaiUpstream({ models: [MODEL, OTHER, "dev/large"] });
  const { outbound } = w.process;
  Object.assign(w.process, {
    outbound: (url: string | URL, init: Parameters<typeof outbound>[1] = {}) => {
      const waits = String(url).startsWith(model.url) ? {} : { timeoutMs: clock.patienceMs };
      return outbound(url, { ...init, ...waits });
    },
  });
  const [apiKey = ""] = model.keys;
  await w.as(w.operator).teams.upstreams.create({
    name: "Models",
    modelPrefix: "dev/",
    baseUrl: model.url,
    apiKey,
    maxAttempts: 1,
  });

  /** Asked as the superuser, past every policy. */
  const sql = database.admin;
  const updates = (channelId: string) =>
    sql(
      `select update_key as key, state, attempts, sent_parts as parts, failure from channel_updates
       where channel_id = $1 order by position, id`,
      [channelId],
    );

  const { team, bot } = teamsOf(w);

  /** Resolves when this process has worked off what is due. */
  const rest = () => chatsAtRest(w.process);
  /** One round, and what it begins. */
  const round = async () => {
    await workDue(w.process);
    await rest();
  };
  /** As if so much time had passed for what waits and for who holds it. */
  const pass = (ms: number) =>
    sql(
      `update channel_chats set due_at = due_at - $1 * interval '1 millisecond',
      held_until = held_until - $1 * interval '1 millisecond'`,
      [ms],
    );
  /** Done when the model was asked so often since the last reset. */
  const asked = (count: number) => until(() => model.calls.length >= count, `${count} were asked`);

  return {
    ...{ w, lines, clock, model, sql, updates, team, bot, rest, round, pass, asked },
    async [Symbol.asyncDispose]() {
      await rest();
      await model.stop();
      await w.close();
    },
  };
}
export type ChannelHouse = Awaited<ReturnType<typeof house>>;
export type Bot = Awaited<ReturnType<ChannelHouse["bot"]>>;

/** Numbers what people write to a bot, as Telegram does. */
export function writer(from = 900_000_000) {
  let id = from;
  return (text: string, more: Partial<Written> = {}, chat: Written["chat"] = home) => ({
    update_id: ++id,
    message: written(chat, more.from ?? mira, { ...said(text), message_id: id, ...more }),
  });
}

/** A private chat with somebody of this number. */
export const somebody = (n: number) => {
  const from = { id: 6_000_000_000 + n, is_bot: false, first_name: `P${n}` };
  return { from, chat: { id: from.id, type: "private" as const, first_name: from.first_name } };
};

export const textsOf = ({ sent }: Telegram) => sent.map(({ text }) => text);
