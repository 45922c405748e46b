/**
 * Turns: one at a time in a conversation. A turn takes the conversation, with what is told to the model
 * of it, and gives it back with what was said; one whose process ended is over after half a minute.
 */
import { and, desc, eq, isNull, lte, or, sql } from "drizzle-orm";
import { v7 } from "uuid";
import { chatSessions, messages } from "../../db/schema/teams.ts";
import { read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { Fault } from "../errors.ts";
import { told } from "../log.ts";
import { one } from "../rows.ts";
import { publish, record } from "../trail.ts";
import { type ChatSession, sessionView } from "./chat_sessions.ts";
import type { Effective } from "./effective.ts";
import { storable } from "./gateway/requests.ts";

export type Said = { role: "user" | "assistant"; content: string };
export type Turn = { id: string; session: ChatSession; stop: () => void };
export type Whose = { teamId: string; platform: string; userId: string };

const TURN_MS = 30_000;
/** The most that is told of what was said before, in tokens by the stated rule. */
export const HISTORY_TOKENS = 16_000;

const until = () => sql`now() + make_interval(secs => ${TURN_MS / 1_000})`;
const own = ({ tenantId }: TenantCtx, id: string) =>
  and(eq(chatSessions.tenantId, tenantId), eq(chatSessions.id, id));

/**
 * Takes the conversation for one turn; makes it where there is none. Throws SessionNotYours for one of
 * another key, which is written down, and Conflict while another turn is under way.
 */
export async function begin(ctx: TenantCtx, whose: Whose): Promise<Turn> {
  const id = v7();
  const row = await transact(ctx, async (ctx) => {
    const session = await sessionFor(ctx, whose);
    if (!isTheirs(ctx, session.keyFamilyId)) return { ...session, isTheirs: false, isTaken: false };
    const taken = await ctx.db.update(chatSessions).set({
      turnId: id,
      turnUntil: until(),
      lastActivityAt: ctx.now(),
    })
      .where(and(
        own(ctx, session.id),
        or(isNull(chatSessions.turnUntil), sql`${chatSessions.turnUntil} < now()`),
      )).returning({ id: chatSessions.id });
    return { ...session, isTheirs: true, isTaken: taken.length === 1 };
  });
  const { isTheirs: may, isTaken, keyFamilyId: _, ...session } = row;
  if (!may) throw await refused(ctx, session);
  if (!isTaken) {
    const sentence = "This conversation is waiting for an answer: send the next when it is there";
    throw new Fault("Conflict", "chat.turn_running", sentence, { retryAfterSeconds: 1 });
  }
  return { id, session, stop: renewing(ctx, session.id, id) };
}

async function sessionFor(ctx: TxCtx, { teamId, platform, userId }: Whose) {
  const { tenantId, principal } = ctx;
  const keyFamilyId = principal?.team?.familyId ?? null;
  return one(
    await ctx.db.insert(chatSessions).values({ tenantId, teamId, platform, userId, keyFamilyId })
      .onConflictDoUpdate({
        target: [
          chatSessions.tenantId,
          chatSessions.teamId,
          chatSessions.platform,
          chatSessions.userId,
        ],
        set: { updatedAt: sql`${chatSessions.updatedAt}` }, // It may be none of theirs.
      }).returning({ ...sessionView, keyFamilyId: chatSessions.keyFamilyId }),
  );
}

/** A key keeps to its own conversations, and one that is no key's is not its own either. */
const isTheirs = ({ principal, reach }: TenantCtx, familyId: string | null) =>
  reach === "self" ? principal?.team !== undefined && principal.team.familyId === familyId : true;

/** S3: the attempt is written down, and nothing else of it. */
async function refused(ctx: TenantCtx, { id }: ChatSession): Promise<Fault> {
  await transact(ctx, async (ctx) => {
    const action = "chat_session.refused";
    const after = { apiKeyId: ctx.actor.id };
    await record(ctx, { action, subjectType: "chat_session", subjectId: id, before: null, after });
    await publish(ctx, {
      type: action,
      source: "/chat/sessions",
      subjectId: id,
      data: { ...after, tenantId: ctx.tenantId },
    });
  });
  const key = ctx.actor.id?.slice(0, 8);
  ctx.log("warn", "a key tried another key's conversation", { key, session: masked(id) });
  return new Fault(
    "SessionNotYours",
    "chat_session.not_yours",
    "Access denied. This user's conversation belongs to a different API key.",
  );
}

/** As logs show a conversation: enough to tell two apart. */
export const masked = (id: string) => `…${id.slice(-6)}`;

/** Keeps the turn while its process lives; the answer ends that. */
function renewing(ctx: TenantCtx, sessionId: string, turnId: string): () => void {
  const renew = () =>
    transact(
      { ...ctx, frame: { open: false, committed: [] } },
      (ctx) =>
        ctx.db.update(chatSessions).set({ turnUntil: until() })
          .where(and(own(ctx, sessionId), eq(chatSessions.turnId, turnId))),
    ).catch((error) => ctx.log("warn", "a turn was not renewed", { error: told(error) }));
  const timer = setInterval(renew, TURN_MS / 3);
  return () => clearInterval(timer);
}

/** What a model is told of a conversation: the newest that fit, the oldest first, beginning with the user. */
export async function historyOf(
  ctx: TenantCtx,
  { session }: Turn,
  { maxHistory }: Pick<Effective, "maxHistory">,
): Promise<Said[]> {
  const kept = await read(ctx, (ctx) => {
    // What tokensOf counts of a text without pictures, known of a long one without reading it.
    const { id, role, content } = messages;
    const newest = ctx.db.select({ id, role, content }).from(messages).where(and(
      eq(messages.tenantId, ctx.tenantId),
      eq(messages.sessionId, session.id),
      isNull(messages.clearedAt),
    )).orderBy(desc(id)).limit(maxHistory).as("newest");
    const tokens = sql`(octet_length(${newest.content}) + 3) / 4`;
    const weighed = ctx.db.select({
      id: newest.id,
      role: newest.role,
      content: newest.content,
      tokens: sql<number>`sum(${tokens}) over (order by ${newest.id} desc)`.as("tokens"),
    }).from(newest).as("weighed");
    return ctx.db.select({ role: weighed.role, content: weighed.content }).from(weighed)
      .where(lte(weighed.tokens, HISTORY_TOKENS)).orderBy(weighed.id);
  });
  const first = kept.findIndex(({ role }) => role === "user");
  return first < 0 ? [] : kept.slice(first);
}

export type Answer = { content: string; model: string; isPartial: boolean };

/**
 * Gives the conversation back, with what was said in the turn; with nothing where nothing came of it.
 * `also` is done with it or not at all.
 */
export async function end(
  ctx: TenantCtx,
  turn: Turn,
  said: { user: string; answer: Answer } | null,
  also?: (ctx: TxCtx) => Promise<void>,
): Promise<void> {
  turn.stop();
  const { id: sessionId } = turn.session;
  const { tenantId } = ctx;
  await transact({ ...ctx, frame: { open: false, committed: [] } }, async (ctx) => {
    const held = await ctx.db.update(chatSessions).set({
      turnId: null,
      turnUntil: null,
      lastActivityAt: ctx.now(),
      ...said ? { totalMessageCount: sql`${chatSessions.totalMessageCount} + 2` } : {},
    }).where(and(own(ctx, sessionId), eq(chatSessions.turnId, turn.id)))
      .returning({ id: chatSessions.id });
    await also?.(ctx);
    if (!said || held.length === 0) return; // Another turn has it by now.
    const { model, isPartial } = said.answer;
    const [user, content] = [storable(said.user), storable(said.answer.content)];
    await ctx.db.insert(messages).values([
      { tenantId, sessionId, role: "user", content: user },
      { tenantId, sessionId, role: "assistant", content, model, isPartial },
    ]);
  });
}
