/**
 * How many chats a process is at: so many at a time, and no tenant at more than its share of them. What
 * does not fit waits in the database, where any process finds it.
 */
import { sql } from "drizzle-orm";
import type { Database } from "../../../db/client.ts";
import type { Services } from "../../context.ts";
import { told } from "../../log.ts";
import type { Chat } from "./arrivals.ts";
import { workChat } from "./work.ts";

export const MOST_CHATS = 200;
export const MOST_OF_TENANT = 50;
/** So many updates of a chat in a row while others wait. */
const MOST_IN_A_ROW = 10;

type Place = { tenantId: string; isAsked: boolean };
type Desk = {
  places: Map<string, Place>;
  /** Perhaps something waits that did not fit. */
  isBehind: boolean;
  isLooking: boolean;
  isClosed: boolean;
  left: PromiseWithResolvers<void>;
};

const desks = new WeakMap<Database, Desk>();

function deskOf({ database }: Pick<Services, "database">): Desk {
  const known = desks.get(database);
  if (known) return known;
  const desk: Desk = {
    places: new Map(),
    isBehind: false,
    isLooking: false,
    isClosed: false,
    left: Promise.withResolvers<void>(),
  };
  desks.set(database, desk);
  return desk;
}

/** The tenants that have their share. */
function busyAt({ places }: Desk): string[] {
  const counts = new Map<string, number>();
  for (const { tenantId } of places.values()) counts.set(tenantId, (counts.get(tenantId) ?? 0) + 1);
  return [...counts].filter(([, n]) => n >= MOST_OF_TENANT).map(([tenantId]) => tenantId);
}

const mayBegin = (desk: Desk, { tenantId }: Chat) =>
  !desk.isClosed && desk.places.size < MOST_CHATS && !busyAt(desk).includes(tenantId);

/** Begins with a chat, unless this process is at it or at as many as it may be. */
export function begin(services: Services, chat: Chat): void {
  const desk = deskOf(services);
  const key = `${chat.channelId}/${chat.chatKey}`;
  const place = desk.places.get(key);
  if (place) place.isAsked = true; // It may have looked for the last time just before.
  else if (!mayBegin(desk, chat)) desk.isBehind = true;
  else void workAt(services, desk, key, chat);
}

async function workAt(services: Services, desk: Desk, key: string, chat: Chat): Promise<void> {
  const place = { tenantId: chat.tenantId, isAsked: true };
  desk.places.set(key, place);
  let row = 0;
  const isOver = () => desk.isClosed || (++row >= MOST_IN_A_ROW && desk.isBehind);
  while (place.isAsked && !desk.isClosed) {
    place.isAsked = false;
    await workChat(services, chat, isOver).catch((error) =>
      services.log("error", "a chat could not be worked off", { error: told(error) })
    );
  }
  desk.places.delete(key);
  desk.left.resolve();
  desk.left = Promise.withResolvers<void>();
  if (!desk.isBehind) return;
  await look(services, desk).catch((error) =>
    services.log("error", "what waits could not be found", { error: told(error) })
  );
}

/** Begins with what waits, wherever it came in, until every place is taken. */
async function look(services: Services, desk: Desk): Promise<void> {
  if (desk.isLooking || desk.isClosed) return;
  desk.isLooking = true;
  try {
    for (let isMore = true; isMore;) {
      const [free, busy, before] = [
        MOST_CHATS - desk.places.size,
        busyAt(desk),
        desk.places.size,
      ];
      desk.isBehind = free <= 0 || busy.length > 0;
      if (free <= 0) return;
      const rows = await services.database.query(
        sql`select * from chats_due(${free}, ${sql.param(busy)}::uuid[])`,
      );
      for (const row of rows) {
        begin(services, {
          tenantId: String(row.tenant_id),
          channelId: String(row.channel_id),
          chatKey: String(row.chat_key),
        });
      }
      isMore = rows.length >= free && desk.places.size > before;
    }
  } finally {
    desk.isLooking = false;
  }
}

/** One round: begins with what is due. */
export const workDue = (services: Services): Promise<void> => look(services, deskOf(services));

/** Resolves when this process is at no chat. */
export async function chatsAtRest(services: Pick<Services, "database">): Promise<void> {
  const desk = deskOf(services);
  while (desk.places.size > 0) await desk.left.promise;
}

/** Begins with nothing more; what is under way goes on to where it can be left. */
export function closeDesk(services: Pick<Services, "database">): void {
  deskOf(services).isClosed = true;
}
