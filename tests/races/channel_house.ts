/** A bot on a real Postgres, spoken to through several processes of the whole service. */
import { v7 } from "uuid";
import { until } from "../db/house.ts";
import { openaiUpstream } from "../stand_ins/openai.ts";
import { telegram } from "../stand_ins/telegram.ts";
import { said, written } from "../stand_ins/telegram_people.ts";
import { started } from "../start/service.ts";
import { teamHouse, variablesOf } from "./team_house.ts";

export const MODEL = "dev/echo";
/** Notes which process took a hold, as the connection it came over is called. */
const NOTES = `
  create table taken (holder uuid primary key, process text not null);
  create function note_taken() returns trigger language plpgsql security definer
  set search_path = public as $$
  begin
    insert into taken values (new.holder, current_setting('application_name'))
    on conflict do nothing;
    return null;
  end $$;
  create trigger note_taken after update on channel_chats for each row
    when (new.holder is not null and new.holder is distinct from old.holder)
    execute function note_taken();`;

export type Served = Awaited<ReturnType<typeof started>> & { name: string };

type Server = Awaited<ReturnType<typeof teamHouse>>["server"];

/** What the database says of chats and who is at them. */
function chatsOf(server: Server) {
  /** The answers these processes had written down, and may have sent and not written that. */
  const between = async (names: string[]): Promise<string[]> =>
    (await server.admin(`
      select distinct on (c.channel_id, c.chat_key) u.update_key from channel_chats c
      join taken t on t.holder = c.holder and t.process in (${names.map((n) => `'${n}'`)})
      join channel_updates u using (tenant_id, channel_id, chat_key)
      where u.state = 'received' and u.reply is not null
      order by c.channel_id, c.chat_key, u.position`)).map(({ update_key }) => String(update_key));
  /** As if these processes had not been heard of for as long as a hold and a turn last. */
  const expire = async (names: string[]) => {
    const theirs = `holder in (select holder from taken
      where process in (${names.map((n) => `'${n}'`)}))`;
    await server.admin(`update chat_sessions set turn_until = now() - interval '1 second'
      where turn_until is not null and user_id in (
        select chat_key from channel_chats where ${theirs})`);
    await server.admin(
      `update channel_chats set held_until = now() - interval '1 second' where ${theirs}`,
    );
  };
  /** Nothing waits any more, and nobody holds anything. */
  const allDone = (ms = 60_000) =>
    until(
      async () =>
        await server.count(`select count(*) from channel_chats
          where due_at is not null or holder is not null`) === 0,
      "everything is worked off",
      ms,
    );
  const states = async () =>
    Object.fromEntries(
      (await server.admin(`select state, count(*)::int as n from channel_updates group by 1`))
        .map(({ state, n }) => [state, n]),
    );
  return { between, expire, allDone, states };
}

export async function channelHouse() {
  const home = await teamHouse();
  const { w, server, env } = home;
  await server.admin(NOTES);
  const model = await openaiUpstream({ models: [MODEL] });
  await w.as(w.operator).teams.upstreams.create({
    name: "Echo",
    modelPrefix: "dev/",
    baseUrl: model.url,
    apiKey: model.keys[0] ?? "",
    maxAttempts: 1,
  });
  const processes: Served[] = [];
  const serve = async () => {
    const name = `process-${v7()}`;
    return { ...await started({ ...variablesOf(env), PGAPPNAME: name }), name };
  };
  /** Sends to any of those that live. */
  const reach = async (request: Request) => {
    const one = processes[Math.floor(Math.random() * processes.length)];
    if (!one) throw new Error("There is nobody to send to");
    const { pathname } = new URL(request.url);
    return await fetch(one.url + pathname, new Request(request));
  };
  const bot = async (by = home.admin) => {
    const { teams } = w.as(by);
    const { id: teamId } = await home.team({ rateLimit: 1_000, availableModels: [MODEL] }, by);
    const server = telegram({ reach });
    const { channel } = await teams.channels.create({
      ...{ teamId, kind: "telegram", name: "Bot", token: server.token, apiRoot: server.url },
    });
    await teams.channels.connect({ id: channel.id });
    return { server, teamId, channelId: channel.id, tenantId: by.tenantId };
  };
  const close = async () => {
    for (const each of processes) await each.stop("SIGKILL");
    await model.stop();
    await home.close();
  };
  return {
    ...{ home, model, processes, serve, reach, bot, close },
    ...chatsOf(server),
  };
}
export type ChannelHouse = Awaited<ReturnType<typeof channelHouse>>;

/** What somebody of this number writes, with that number of an update. */
export const words = (person: number, id: number, text: string) => {
  const from = { id: 6_000_000_000 + person, is_bot: false, first_name: `P${person}` };
  const chat = { id: from.id, type: "private" as const, first_name: from.first_name };
  return { update_id: id, message: written(chat, from, { ...said(text), message_id: id }) };
};
