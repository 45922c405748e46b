/**
 * Conversations: one of each user of a platform with a team (S3's session manager). One belongs to the
 * key that began it and to those that took over from that key; clearing it keeps what was said.
 */
import { and, count, desc, eq, isNull, lt, type SQL, sql } from "drizzle-orm";
import { z } from "zod";
import { chatSessions, messageRoles, messages } from "../../db/schema/teams.ts";
import { read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found, one } from "../rows.ts";
import { publish, record } from "../trail.ts";

export const ChatSession = z.object({
  id: z.uuid(),
  teamId: z.uuid(),
  platform: z.string().max(255),
  userId: z.string().max(255),
  /** Null: the team's default. */
  currentModel: z.string().max(255).nullable(),
  totalMessageCount: z.int(),
  lastActivityAt: z.date(),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "ChatSession" });
export type ChatSession = z.infer<typeof ChatSession>;
export const sessionView = columnsOf(chatSessions, ChatSession);

/** With `self` reach, which a team's key has, the conversations of that key alone: none without a key. */
export function ownSession(
  { tenantId, reach, principal }: TenantCtx,
  id?: string,
): SQL | undefined {
  const team = principal?.team;
  return and(
    eq(chatSessions.tenantId, tenantId),
    id === undefined ? undefined : eq(chatSessions.id, id),
    reach !== "self"
      ? undefined
      : team
      ? and(eq(chatSessions.teamId, team.id), eq(chatSessions.keyFamilyId, team.familyId))
      : sql`false`,
  );
}

export const Get = z.strictObject({ id: z.uuid() });

export const get = (ctx: TenantCtx, { id }: z.infer<typeof Get>) =>
  read(
    ctx,
    async (ctx) =>
      found(
        await ctx.db.select(sessionView).from(chatSessions).where(ownSession(ctx, id)),
        "chat_session",
      ),
  );

export const List = z.strictObject({
  teamId: z.uuid().optional(),
  userId: z.string().min(1).max(255).optional(),
  ...page,
});
export const Listed = z.object({ chatSessions: z.array(ChatSession).max(100), nextCursor });

export function list(ctx: TenantCtx, input: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(sessionView).from(chatSessions).where(and(
      ownSession(ctx),
      input.teamId ? eq(chatSessions.teamId, input.teamId) : undefined,
      input.userId ? eq(chatSessions.userId, input.userId) : undefined,
      input.cursor ? lt(chatSessions.id, input.cursor) : undefined,
    )).orderBy(desc(chatSessions.id)).limit(input.limit + 1);
    const { items, nextCursor } = pageOf(rows, input.limit);
    return { chatSessions: items, nextCursor };
  });
}

export const Message = z.object({
  id: z.uuid(),
  sessionId: z.uuid(),
  role: z.enum(messageRoles),
  content: z.string(),
  model: z.string().max(255).nullable(),
  isPartial: z.boolean(),
  clearedAt: z.date().nullable(),
  createdAt: z.date(),
}).meta({ id: "Message" });
const messageView = columnsOf(messages, Message);

export const ListMessages = z.strictObject({ sessionId: z.uuid(), ...page });
export const MessagesListed = z.object({
  messages: z.array(Message).max(100)
    .describe("Fewer than asked for where they are long: 1 MiB of content, or one message"),
  nextCursor,
});
const PAGE_BYTES = 2 ** 20;

/** What was said, newest first, the cleared too; a page is short where the messages are long. */
export function listMessages(ctx: TenantCtx, input: z.infer<typeof ListMessages>) {
  const { sessionId, cursor, limit } = input;
  return read(ctx, async (ctx) => {
    const own = await ctx.db.select({ id: chatSessions.id }).from(chatSessions)
      .where(ownSession(ctx, sessionId));
    found(own, "chat_session");
    // Taken along the index first: what is summed up is a page and not the conversation.
    const newest = ctx.db.select(messageView).from(messages).where(and(
      eq(messages.tenantId, ctx.tenantId),
      eq(messages.sessionId, sessionId),
      cursor ? lt(messages.id, cursor) : undefined,
    )).orderBy(desc(messages.id)).limit(limit + 1).as("newest");
    const order = sql`order by ${newest.id} desc`;
    const [nth, bytes] = [
      sql`row_number() over (${order})`,
      sql`sum(octet_length(${newest.content})) over (${order})`,
    ];
    const weighed = ctx.db.select({
      ...newest._.selectedFields,
      fits: sql<boolean>`${nth} = 1 or ${nth} <= ${limit} and ${bytes} <= ${PAGE_BYTES}`.as("fits"),
      isLast: sql<boolean>`lead(${newest.id}) over (${order}) is null`.as("is_last"),
    }).from(newest).as("weighed");
    const rows = await ctx.db.select().from(weighed).where(eq(weighed.fits, true))
      .orderBy(desc(weighed.id));
    const last = rows.at(-1);
    return {
      messages: rows.map(({ fits: _fits, isLast: _isLast, ...message }) => message),
      nextCursor: last && !last.isLast ? last.id : null,
    };
  });
}

export const Clear = Get;
export const Cleared = ChatSession.extend({ clearedMessages: z.int() });

/** Tells no model any more what was said so far. The messages stay and count. */
export function clear(ctx: TenantCtx, { id }: z.infer<typeof Clear>) {
  return transact(ctx, async (ctx) => {
    const rows = await ctx.db.select(sessionView).from(chatSessions).where(ownSession(ctx, id))
      .for("update");
    const session = found(rows, "chat_session");
    const clearedMessages = await clearMessages(ctx, id);
    return { ...session, clearedMessages };
  });
}

/** Within the caller's transaction; answers how many were told until now. */
export async function clearMessages(ctx: TxCtx, sessionId: string): Promise<number> {
  const cleared = ctx.db.$with("cleared").as(
    ctx.db.update(messages).set({ clearedAt: ctx.now() }).where(and(
      eq(messages.tenantId, ctx.tenantId),
      eq(messages.sessionId, sessionId),
      isNull(messages.clearedAt),
    )).returning({ id: messages.id }),
  );
  const { clearedMessages } = one(
    await ctx.db.with(cleared).select({ clearedMessages: count() }).from(cleared),
  );
  const change = { action: "chat_session.cleared", subjectType: "chat_session" };
  await record(ctx, {
    ...change,
    subjectId: sessionId,
    before: null,
    after: { clearedMessages },
  });
  await publish(ctx, {
    type: change.action,
    source: "/chat/sessions",
    subjectId: sessionId,
    data: { clearedMessages, tenantId: ctx.tenantId },
  });
  return clearedMessages;
}
