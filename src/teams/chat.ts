/** Chatting as a caller does it: something is said to a team on behalf of a user, and answered. */
import { z } from "zod";
import type { TenantCtx } from "../context.ts";
import { Fault, invalid, notFound } from "../errors.ts";
import { run, spelled } from "./commands.ts";
import { converse, requestOf, type Spoken } from "./conversations.ts";
import { effectiveOf } from "./effective.ts";
import { deltasOf } from "./gateway/event_streams.ts";
import type { Chatting } from "./gateway/exchanges.ts";
import { takeRate } from "./rates.ts";
import { isTheirs, teamOf } from "./team_rows.ts";
import { begin, end, type Whose } from "./turns.ts";
import { words } from "./words.ts";

const MOST_CHARACTERS = 100_000;
const spokenWord = z.string().max(255).regex(/^[^\p{Cc}]*\S[^\p{Cc}]*$/u);

export const Send = z.strictObject({
  /** A team's key speaks to its own team and leaves both out. */
  teamId: z.uuid().optional(),
  platformName: words.platformName.optional(),
  userId: spokenWord.describe("Whom it is said for, as your platform names them"),
  platform: spokenWord.optional(),
  content: z.string().trim().min(1, "Give what is said")
    .max(MOST_CHARACTERS, `Give at most ${MOST_CHARACTERS} characters`),
});
type Send = z.infer<typeof Send>;

export const Sent = z.object({
  sessionId: z.uuid(),
  content: z.string(),
  /** Null: a command was answered, by no model. */
  model: z.string().max(255).nullable(),
  isPartial: z.boolean(),
}).meta({ id: "ChatAnswer" });
export type Sent = z.infer<typeof Sent>;

/** The team that is spoken to. Throws ValidationError, NotFound. */
async function chattingOf(ctx: TenantCtx, input: Send): Promise<Chatting & { whose: Whose }> {
  const { platformName } = input;
  const named = platformName ? (await teamOf(ctx, { platformName }))?.id ?? null : undefined;
  const asked = input.teamId?.toLowerCase();
  const id = ctx.principal?.team?.id ?? asked ?? named;
  if (id === undefined) throw invalid("team_id", "Give a team's id or its platform name");
  // A key speaks to its own team, whichever it names.
  const isOne = [asked, named].every((it) => it === undefined || it === id);
  if (id === null || !isOne || !isTheirs(ctx, id)) throw notFound("team");
  const { effective, team } = await effectiveOf(ctx, id);
  if (!team.isActive) throw new Fault("Conflict", "team.inactive", "The team is not active");
  const apiKeyId = ctx.principal?.team ? ctx.actor.id : null;
  const platform = input.platform ?? effective.platformName;
  return { teamId: id, apiKeyId, effective, whose: { teamId: id, platform, userId: input.userId } };
}

/** A command's answer, within a turn of its own; null for what is no command. */
async function commanded(
  ctx: TenantCtx,
  chatting: Chatting & { whose: Whose },
  content: string,
): Promise<Sent | null> {
  const command = spelled(content);
  if (!command) return null;
  const turn = await begin(ctx, chatting.whose);
  try {
    const answer = await run(ctx, chatting, turn, command);
    return { sessionId: turn.session.id, content: answer, model: null, isPartial: false };
  } finally {
    await end(ctx, turn, null);
  }
}

/** Throws what the upstream's refusal comes to, once it is settled. */
async function requireAnswer(spoken: Spoken): Promise<void> {
  if (spoken.status < 300) return;
  await spoken.kept;
  throw new Fault("ProviderError", "upstream.refused", "The model's provider refused the request");
}

/** Says something and waits for the whole answer. */
export async function send(ctx: TenantCtx, input: Send): Promise<Sent> {
  const chatting = await chattingOf(ctx, input);
  takeRate(ctx, chatting.teamId, chatting.effective);
  const answer = await commanded(ctx, chatting, input.content);
  if (answer) return answer;
  const request = requestOf(input.content, chatting, false);
  const never = new AbortController().signal;
  const spoken = await converse(ctx, chatting, chatting.whose, request, never);
  await requireAnswer(spoken);
  const { said, model, outcome } = await spoken.ended;
  await spoken.kept;
  const { text } = said();
  return { sessionId: spoken.sessionId, content: text, model, isPartial: outcome !== "answered" };
}

/** That it was heard, that it is answered, a piece as it comes, and, at the end, the whole of it. */
export type Piece =
  | { type: "heard" }
  | { type: "begun"; sessionId: string }
  | { type: "delta"; content: string }
  | ({ type: "done" } & Sent);

export const Stream = Send.extend({
  /** Sent by a client that lost its connection and asks again by itself. */
  lastEventId: z.string().max(64).optional(),
});

/** Says something and gives the answer piece by piece; whoever leaves ends it, which `signal` says. */
export async function* stream(
  ctx: TenantCtx,
  { lastEventId, ...input }: z.infer<typeof Stream>,
  signal: AbortSignal,
): AsyncGenerator<Piece> {
  if (lastEventId !== undefined) {
    const sentence = "The answer broke off: what came of it is among the conversation's messages";
    throw new Fault("Conflict", "chat.stream_broken", sentence);
  }
  const chatting = await chattingOf(ctx, input);
  takeRate(ctx, chatting.teamId, chatting.effective);
  yield { type: "heard" }; // Before any model is asked: who has it does not say it again by itself.
  const answer = await commanded(ctx, chatting, input.content);
  if (answer) return yield { type: "done", ...answer };
  const request = requestOf(input.content, chatting, true);
  const left = new AbortController();
  const either = AbortSignal.any([signal, left.signal]);
  const spoken = await converse(ctx, chatting, chatting.whose, request, either);
  await requireAnswer(spoken);
  const { sessionId, body } = spoken;
  try {
    yield { type: "begun", sessionId };
    if (body instanceof ReadableStream) {
      for await (const content of deltasOf(body)) yield { type: "delta", content };
    }
  } finally {
    left.abort(); // Where it was not read to its end.
    await spoken.kept;
  }
  const { outcome, model, said } = await spoken.ended;
  const { text } = said();
  yield { type: "done", sessionId, model, content: text, isPartial: outcome !== "answered" };
}
