/** A request as an OpenAI client sends it: what we must know of it, and the rest as it came. */
import { z } from "zod";
import { Fault, invalid } from "../../errors.ts";
import { isObject } from "../../objects.ts";
import { bytesIn } from "../../short_texts.ts";
import type { Endpoint } from "../admission.ts";
import type { Effective } from "../effective.ts";
import { type Member, membersOf, requireUnequivocal, withMembers } from "./json_text.ts";
import { furtherModels } from "./named_models.ts";

/** The most a request may weigh: pictures travel in it. */
export const MAX_REQUEST_BYTES = 16 * 1024 * 1024;
const BYTES_A_TOKEN = 4;

const Known = z.object({
  model: z.string("Give a model's name").max(255).optional(),
  stream: z.boolean("Give true or false").nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
  messages: z.array(z.unknown(), "Give a list of messages").optional(),
  input: z.unknown().optional(),
  /** Some routers take further models here: each of them is one that may answer. */
  models: z.array(z.string(), "Give a list of models").nullish(),
  user: z.unknown().optional(),
});
type Known = z.infer<typeof Known>;
/** What nearly all are, seen at a glance: the common fields as they should be, the rare ones absent. */
const isCommon = (value: Record<string, unknown>): value is Known =>
  (value.model === undefined || (typeof value.model === "string" && value.model.length <= 255)) &&
  (value.stream === undefined || typeof value.stream === "boolean") &&
  (value.messages === undefined || Array.isArray(value.messages)) &&
  (value.stream_options === undefined || isTelling(value.stream_options)) &&
  value.models === undefined;
const isTelling = (options: unknown) =>
  isObject(options) && !Array.isArray(options) && typeof options.include_usage === "boolean";
const names = Object.keys(Known.shape);

export type ChatRequest = {
  endpoint: Endpoint;
  text: string;
  members: Member[];
  model: string;
  /** What `models` names; null where it is not given. */
  models: readonly string[] | null;
  /** Other fields name models too, all of them allowed. */
  isSteered: boolean;
  isStreamed: boolean;
  /** Whether the client asked for the usage at the end of a stream. */
  wantsUsage: boolean;
  /** Tokens of what is sent, by the stated rule: a quarter of its bytes, pictures apart. */
  inputTokens: number;
  /** Whom the client asks for, for the usage. */
  userId: string | null;
  known: Known;
};

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Fault("ValidationError", "body.malformed", "The body is not JSON");
  }
}

function examined(value: unknown): Known {
  const { data, error } = Known.safeParse(value);
  if (data) return data;
  const [first] = error.issues;
  throw invalid(first?.path.join(".") ?? "body", first?.message ?? "It is not as it should be");
}

/** Reads the text of a request. Throws ValidationError, and ModelNotAllowed for one outside the list. */
export function readRequest(endpoint: Endpoint, text: string, allowed: Effective): ChatRequest {
  const value = parsed(text);
  if (!isObject(value) || Array.isArray(value)) {
    throw new Fault("ValidationError", "body.malformed", "The body is not a JSON object");
  }
  const members = membersOf(text);
  requireUnequivocal(members, names);
  const data = isCommon(value) ? value : examined(value);
  const field = endpoint === "embeddings" ? "input" : "messages";
  const content = members.find(({ key }) => key === field);
  if (!content || data.messages?.length === 0) {
    throw invalid(field, field === "input" ? "Give what to embed" : "Give at least one message");
  }
  const model = data.model ?? allowed.model;
  requireAllowed(model, allowed);
  for (const each of data.models ?? []) requireAllowed(each, allowed, "models");
  const further = furtherModels(Object.entries(value));
  for (const { field, model } of further) requireAllowed(model, allowed, field);
  return {
    endpoint,
    text,
    members,
    model,
    models: data.models ?? null,
    isSteered: further.length > 0,
    isStreamed: endpoint === "chat.completions" && data.stream === true,
    wantsUsage: data.stream_options?.include_usage === true,
    inputTokens: tokensOf(text.slice(content.from, content.to)),
    userId: userOf(data),
    known: data,
  };
}

/** As far as it can be written down; what the upstream makes of it is its own business. */
const userOf = ({ user }: Known) =>
  typeof user === "string" && user !== "" ? storable(user).slice(0, 255).toWellFormed() : null;

/** What Postgres cannot keep is not worth the loss of the rest. */
export const storable = (text: string) => text.replaceAll("\0", "\ufffd").toWellFormed();

/** Throws ModelNotAllowed for a model that is not, letter by letter, in the team's list. */
function requireAllowed(model: string, { availableModels }: Effective, field = "model"): void {
  if (availableModels.includes(model)) return;
  throw new Fault("ModelNotAllowed", "model.not_allowed", "The team may not use this model", {
    fields: [{ field, message: "Give one that GET /v1/models lists" }],
  });
}

/** The stated rule for what nobody else counted: a token for four bytes of UTF-8, begun ones whole. */
export function tokensOf(text: string): number {
  const told = text.includes(";base64,")
    ? text.replaceAll(/"data:[^"]{0,200};base64,[^"]*"/g, '""')
    : text;
  return Math.ceil(bytesIn(told) / BYTES_A_TOKEN);
}

/** How an upstream knows what is asked for: the model, and those that may stand in for it there. */
export type Spelled = { name: string; names: readonly string[] | null };

/** The text as an upstream is sent it: under the names it knows the models by, its usage asked for. */
export function textFor(request: ChatRequest, { name, names }: Spelled): string {
  const { text, members, isStreamed, wantsUsage, known } = request;
  const options = { ...known.stream_options, include_usage: true };
  return withMembers(text, members, {
    model: JSON.stringify(name),
    ...names ? { models: JSON.stringify(names) } : {},
    ...isStreamed && !wantsUsage ? { stream_options: JSON.stringify(options) } : {},
  });
}
