/** What the stand-in answers: the same to the same request, and plainly from no model. */
import { knownFields } from "./openai_checks.ts";
import { type Body, isBody, listOf } from "./openai_refusals.ts";
import { piecesOf, promptTokensOf, tokensOf, usageOf } from "./openai_tokens.ts";

/** What a test or a model's name fixes of the answer. */
export interface Wanted {
  /** The answer's text. */
  text?: string;
  /** An answer of exactly so many tokens: "1 2 3 …". */
  tokens?: number;
  /** The answer's id, for providers that give one twice. */
  id?: string;
  /** A provider that never tells the usage. */
  noUsage?: boolean;
}

type ToolCall = { id: string; type: "function"; function: { name: string; arguments: string } };

export interface Answer {
  id: string;
  created: number;
  model: string;
  /** The text in the pieces it is streamed in, one list for each choice. */
  choices: string[][];
  toolCalls: ToolCall[];
  finishReason: "stop" | "length" | "tool_calls";
  usage: ReturnType<typeof usageOf> | undefined;
  /** Says what this server is, and which fields it did not know. */
  note: { development_upstream: { is_real_model: false; unknown_fields: Body } };
}

export const DISCLAIMER = "This is the development upstream, not a real model.";

/** The text of a message, whether it is one string or comes in parts. */
function saidIn(message: unknown): string {
  const content = isBody(message) ? message.content : undefined;
  if (typeof content === "string") return content;
  const parts = listOf(content).filter(isBody).map(({ text }) => text);
  return parts.filter((text) => typeof text === "string").join("\n");
}

/** A value that fits a JSON schema, with `said` wherever a text may stand. */
function fitting(schema: unknown, said: string): unknown {
  if (!isBody(schema)) return said;
  if (schema.const !== undefined) return schema.const;
  if (Array.isArray(schema.enum)) return schema.enum[0];
  const [alternative] = [...listOf(schema.anyOf), ...listOf(schema.oneOf)];
  if (alternative !== undefined) return fitting(alternative, said);
  if (isBody(schema.properties)) {
    const members = Object.entries(schema.properties);
    return Object.fromEntries(members.map(([name, member]) => [name, fitting(member, said)]));
  }
  const [type] = [schema.type].flat();
  if (type === "object") return {};
  if (type === "array") return schema.items === undefined ? [] : [fitting(schema.items, said)];
  if (type === "integer" || type === "number") return 0;
  if (type === "boolean") return false;
  return type === "null" ? null : said;
}

/** The JSON object written in a text, if one is. */
function objectIn(text: string): Body | undefined {
  try {
    const value: unknown = JSON.parse(/\{[\s\S]*\}/.exec(text)?.[0] ?? "");
    return isBody(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The functions to call: those the last message of the user names, the one `tool_choice` names, at
 * least one when it says `required`, none once a tool has answered.
 */
function functionsAsked({ messages, tools, tool_choice: choice, ...body }: Body): Body[] {
  const last = listOf(messages).at(-1);
  const functions = listOf(tools).filter(isBody).map((tool) => tool.function).filter(isBody);
  if (choice === "none") return [];
  const chosen = isBody(choice) && isBody(choice.function) ? choice.function.name : undefined;
  if (chosen !== undefined) return functions.filter(({ name }) => name === chosen);
  const words = isBody(last) && last.role === "user" ? saidIn(last).split(/[^\w-]+/) : [];
  const named = functions.filter(({ name }) => words.includes(String(name)));
  const called = named.length === 0 && choice === "required" ? functions.slice(0, 1) : named;
  return body.parallel_tool_calls === false ? called.slice(0, 1) : called;
}

const toolCallsOf = (body: Body, id: string): ToolCall[] => {
  const said = saidIn(listOf(body.messages).at(-1));
  return functionsAsked(body).map(({ name, parameters }, at) => {
    const fields = objectIn(said) ?? fitting(parameters ?? { type: "object" }, said);
    const call = { name: String(name), arguments: JSON.stringify(fields) };
    return { id: `call_${id}_${at}`, type: "function", function: call };
  });
};

function textFor(body: Body, { text, tokens }: Wanted): string {
  if (text !== undefined) return text;
  if (tokens !== undefined) return Array.from({ length: tokens }, (_, at) => at + 1).join(" ");
  const last = listOf(body.messages).at(-1);
  const said = saidIn(last);
  const { response_format: format } = body;
  if (isBody(format) && format.type === "json_schema" && isBody(format.json_schema)) {
    return JSON.stringify(fitting(format.json_schema.schema, said));
  }
  if (isBody(format) && format.type === "json_object") {
    return JSON.stringify({ note: DISCLAIMER, model: body.model, asked: said });
  }
  const who = isBody(last) && last.role === "tool" ? "The tool said" : `${body.model} was asked`;
  return `${DISCLAIMER} ${who}: ${said}`;
}

/** The pieces up to the first stop sequence and the token limit, and why they end there. */
function limited(text: string, body: Body): [string[], "stop" | "length"] {
  const stops = [body.stop ?? []].flat().map(String);
  const ends = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
  const pieces = piecesOf(text.slice(0, Math.min(text.length, ...ends)));
  const limit = Number(body.max_completion_tokens ?? body.max_tokens ?? Infinity);
  return pieces.length > limit ? [pieces.slice(0, limit), "length"] : [pieces, "stop"];
}

export function answerTo(body: Body, serial: number, wanted: Wanted): Answer {
  const id = wanted.id ?? `chatcmpl-dev-${serial}`;
  const toolCalls = wanted.text === undefined ? toolCallsOf(body, String(serial)) : [];
  const [pieces, why] = limited(toolCalls.length > 0 ? "" : textFor(body, wanted), body);
  const choices = Array.from({ length: Number(body.n ?? 1) }, () => pieces);
  const spent = toolCalls.length > 0
    ? toolCalls.map(({ function: { name, arguments: text } }) => tokensOf(name) + tokensOf(text))
    : [pieces.length];
  const perChoice = spent.reduce((sum, tokens) => sum + tokens, 0);
  const unknown = Object.entries(body).filter(([field]) => !knownFields.has(field));
  return {
    id,
    created: Math.floor(Date.now() / 1000),
    model: String(body.model),
    choices,
    toolCalls,
    finishReason: toolCalls.length > 0 ? "tool_calls" : why,
    usage: wanted.noUsage ? undefined : usageOf(promptTokensOf(body), perChoice * choices.length),
    note: {
      development_upstream: { is_real_model: false, unknown_fields: Object.fromEntries(unknown) },
    },
  };
}

const fingerprint = { service_tier: "default", system_fingerprint: "fp_development" };

export const completionOf = (answer: Answer) => ({
  id: answer.id,
  object: "chat.completion",
  created: answer.created,
  model: answer.model,
  choices: answer.choices.map((pieces, index) => ({
    index,
    message: {
      role: "assistant",
      content: answer.toolCalls.length > 0 ? null : pieces.join(""),
      ...answer.toolCalls.length > 0 ? { tool_calls: answer.toolCalls } : {},
      refusal: null,
      annotations: [],
    },
    logprobs: null,
    finish_reason: answer.finishReason,
  })),
  ...answer.usage ? { usage: answer.usage } : {},
  ...fingerprint,
  ...answer.note,
});

/** The deltas of one choice: who speaks, what is said, nothing more. */
function* deltasOf({ toolCalls }: Answer, pieces: string[]) {
  if (toolCalls.length === 0) yield { role: "assistant", content: "", refusal: null };
  for (const content of pieces) yield { content };
  for (const [index, { id, type, function: { name, arguments: text } }] of toolCalls.entries()) {
    const head = { tool_calls: [{ index, id, type, function: { name, arguments: "" } }] };
    yield index === 0 ? { role: "assistant", content: null, ...head, refusal: null } : head;
    for (const piece of piecesOf(text)) {
      yield { tool_calls: [{ index, function: { arguments: piece } }] };
    }
  }
  yield {};
}

/** The answer as the chunks of a stream, the note on the first, the usage last if it is wanted. */
export function* chunksOf(answer: Answer, includeUsage: boolean) {
  const { id, created, model, finishReason, usage } = answer;
  const head = { id, object: "chat.completion.chunk", created, model, ...fingerprint };
  const tail = includeUsage && usage ? { usage: null } : {};
  const choices = answer.choices.map((pieces) => [...deltasOf(answer, pieces)]);
  const length = choices[0]?.length ?? 0;
  for (let at = 0; at < length; at++) {
    for (const [index, deltas] of choices.entries()) {
      const finish_reason = at === length - 1 ? finishReason : null;
      const choice = { index, delta: deltas[at], logprobs: null, finish_reason };
      const note = at + index === 0 ? answer.note : {};
      yield { ...head, choices: [choice], ...tail, ...note };
    }
  }
  if (includeUsage && usage) yield { ...head, choices: [], usage };
}
