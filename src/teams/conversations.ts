/** A request within a conversation: what was said before goes before it, what is answered is kept. */
import type { TenantCtx, TxCtx } from "../context.ts";
import { invalid } from "../errors.ts";
import { told } from "../log.ts";
import { type Chatting, type Exchange, exchange } from "./gateway/exchanges.ts";
import { elementsOf, withMembers } from "./gateway/json_text.ts";
import { type ChatRequest, readRequest } from "./gateway/requests.ts";
import { begin, end, historyOf, type Said, type Turn } from "./turns.ts";

export type Speaker = {
  platform: string;
  userId: string;
  /** Done with the turn's end or not at all; told what was answered. */
  keep?: (ctx: TxCtx, content: string) => Promise<void>;
};
/** `kept` resolves when what was said is written and the conversation may go on. */
export type Spoken = Exchange & { sessionId: string; kept: Promise<void> };

/** The conversation's own model while the team may use it, else the team's default. */
export const modelFor = ({ session }: Turn, { effective }: Chatting): string => {
  const { currentModel } = session;
  return currentModel !== null && effective.availableModels.includes(currentModel)
    ? currentModel
    : effective.model;
};

type Part = { role?: unknown; content?: unknown };
const isPart = (value: unknown): value is Part => typeof value === "object" && value !== null;

function textOf(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content.flatMap((part: unknown) =>
    isPart(part) && "text" in part && typeof part.text === "string" ? [part.text] : []
  ).join("\n");
}

/** What the user says in a request: its last message, which must be theirs. */
function lastWords({ known }: ChatRequest): string {
  const last = known.messages?.at(-1);
  const text = isPart(last) && last.role === "user" ? textOf(last.content).trim() : "";
  if (text === "") throw invalid("messages", "End with a message of the user that has text");
  return text;
}

/** What rules the conversation stays in front; then what was said before, then what is new. */
function withHistory(request: ChatRequest, history: readonly Said[], model: string): string {
  const { text, members, known } = request;
  const given = { model: JSON.stringify(known.model ?? model) };
  const list = members.find(({ key }) => key === "messages");
  if (!list || history.length === 0) return withMembers(text, members, given);
  const rules = (known.messages ?? []).findIndex((message) =>
    !isPart(message) || (message.role !== "system" && message.role !== "developer")
  );
  // What the client sent stays as it wrote it.
  const sent = elementsOf(text, list.from).map(({ from, to }) => text.slice(from, to));
  const told = history.map((message) => JSON.stringify(message));
  const messages = `[${sent.toSpliced(Math.max(rules, 0), 0, ...told).join(",")}]`;
  return withMembers(text, members, { messages, ...given });
}

/**
 * One turn of a conversation. Throws what `exchange` and `begin` throw; the conversation is free again
 * then.
 */
export async function converse(
  ctx: TenantCtx,
  chatting: Chatting,
  { platform, userId, keep }: Speaker,
  request: ChatRequest,
  signal: AbortSignal,
): Promise<Spoken> {
  const user = lastWords(request);
  const turn = await begin(ctx, { teamId: chatting.teamId, platform, userId });
  const sessionId = turn.session.id;
  try {
    const history = await historyOf(ctx, turn, chatting.effective);
    const text = withHistory(request, history, modelFor(turn, chatting));
    const whole = readRequest("chat.completions", text, chatting.effective);
    const it = await exchange(ctx, chatting, whole, { signal, sessionId, userId });
    const kept = it.ended.then(async ({ outcome, model, said: all }) => {
      const content = outcome === "failed" ? "" : all().text;
      const isPartial = outcome !== "answered";
      const said = content === "" ? null : { user, answer: { content, model, isPartial } };
      await end(ctx, turn, said, said && keep ? (ctx) => keep(ctx, content) : undefined);
    });
    kept.catch((error) => ctx.log("error", "a turn was not kept", { error: told(error) }));
    return { ...it, sessionId, kept };
  } catch (error) {
    await end(ctx, turn, null);
    throw error;
  }
}

/** A request of what somebody says, as an OpenAI client would send it. */
export function requestOf(content: string, { effective }: Chatting, stream: boolean): ChatRequest {
  const body = { messages: [{ role: "user", content }], ...stream ? { stream } : {} };
  // Its model is the conversation's, which is not known yet.
  return readRequest("chat.completions", JSON.stringify(body), effective);
}
