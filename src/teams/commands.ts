/** Commands: what begins with a slash is for us and not for a model. Which there are is the type's to say. */
import { and, eq } from "drizzle-orm";
import { chatSessions } from "../../db/schema/teams.ts";
import { type TenantCtx, transact } from "../context.ts";
import { clearMessages } from "./chat_sessions.ts";
import { modelFor } from "./conversations.ts";
import type { Chatting } from "./gateway/exchanges.ts";
import type { Turn } from "./turns.ts";
import { type Command, commands } from "./words.ts";

export type Spelled = { name: string; argument: string };

/** `/model openai/gpt-4` and, as groups write it, `/model@bot openai/gpt-4`; null for what is none. */
export function spelled(text: string): Spelled | null {
  const [, name, argument = ""] = /^\/([a-z]\w*)(?:@\w+)?(?:\s+([^]*))?$/i.exec(text.trim()) ?? [];
  return name === undefined ? null : { name: name.toLowerCase(), argument: argument.trim() };
}

const meanings: Record<Command, string> = {
  start: "begin",
  help: "what there is to say",
  status: "which model answers, and how much was said",
  clear: "forget what was said so far",
  model: "which model answers; with a name behind it: let that one answer",
  models: "the models there are",
};

const isCommand = (name: string): name is Command => commands.some((command) => command === name);
const isOffered = (name: string, { effective }: Chatting): name is Command =>
  isCommand(name) && effective.commands.includes(name);

/** The commands of these names that there are, each with what it does. */
export const explained = (names: readonly string[]) =>
  names.filter(isCommand).map((command) => ({ command, description: meanings[command] }));

const help = ({ effective }: Chatting) =>
  [
    "Write what you want to know, or one of these:",
    ...effective.commands.filter(isCommand).map((name) => `/${name} — ${meanings[name]}`),
  ].join("\n");

/** Runs a command within a turn and answers what is said to the user. An unknown one gets help. */
export async function run(
  ctx: TenantCtx,
  chatting: Chatting,
  turn: Turn,
  { name, argument }: Spelled,
): Promise<string> {
  if (!isOffered(name, chatting)) return `There is no /${name}.\n${help(chatting)}`;
  switch (name) {
    case "start":
      return `Hello. ${help(chatting)}`;
    case "help":
      return help(chatting);
    case "status":
      return status(chatting, turn);
    case "clear":
      return await clear(ctx, turn);
    case "models":
      return models(chatting, turn);
    case "model":
      return argument === ""
        ? `${modelFor(turn, chatting)} answers.`
        : await switchModel(ctx, chatting, turn, argument);
  }
}

function status(chatting: Chatting, turn: Turn): string {
  const { effective } = chatting;
  return [
    `Model: ${modelFor(turn, chatting)}`,
    `Messages so far: ${turn.session.totalMessageCount}`,
    `Remembered: the last ${effective.maxHistory}`,
    `Requests a minute: ${effective.rateLimit}`,
  ].join("\n");
}

function models(chatting: Chatting, turn: Turn): string {
  const current = modelFor(turn, chatting);
  return chatting.effective.availableModels
    .map((model) => model === current ? `• ${model} (answers now)` : `• ${model}`).join("\n");
}

async function clear(ctx: TenantCtx, { session }: Turn): Promise<string> {
  const n = await transact(ctx, (ctx) => clearMessages(ctx, session.id));
  return n === 0 ? "There was nothing to forget." : "What was said so far is forgotten.";
}

/** Only where the team allows it, and only to a model of its list. */
async function switchModel(
  ctx: TenantCtx,
  { effective }: Chatting,
  { session }: Turn,
  model: string,
): Promise<string> {
  if (!effective.allowModelSwitch) return "The model cannot be changed here.";
  if (!effective.availableModels.includes(model)) {
    return `There is no model ${model.slice(0, 100)} here. /models shows those there are.`;
  }
  await transact(ctx, (ctx) =>
    ctx.db.update(chatSessions).set({ currentModel: model })
      .where(and(eq(chatSessions.tenantId, ctx.tenantId), eq(chatSessions.id, session.id))));
  return `From now on ${model} answers.`;
}
