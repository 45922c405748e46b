/** A request as an OpenAI client sends it: what we must know of it, and the rest as it came. */
import { z } from "zod";
import { Fault, invalid } from "../../errors.ts";
import type { Endpoint } from "../admission.ts";
import type { Effective } from "../effective.ts";
import { type Member, membersOf, requireUnequivocal, withMembers } from "./json_text.ts";

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
  models: z.array(z.string()).optional(),
  user: z.string().max(255).refine((text) => !/[\0\p{Cs}]/u.test(text), "Give whole characters")
    .nullish(),
});
type Known = z.infer<typeof Known>;
const names = Object.keys(Known.shape);

export type ChatRequest = {
  endpoint: Endpoint;
  text: string;
  members: Member[];
  model: string;
  isStreamed: boolean;
  /** Whether the client asked for the usage at the end of a stream. */
  wantsUsage: boolean;
  /** Tokens of what is sent, by the stated rule: a quarter of its bytes, pictures apart. */
  inputTokens: number;
  known: Known;
};

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Fault("ValidationError", "body.malformed", "The body is not JSON");
  }
}

/** Reads the text of a request. Throws ValidationError, and ModelNotAllowed for one outside the list. */
export function readRequest(endpoint: Endpoint, text: string, allowed: Effective): ChatRequest {
  const value = parsed(text);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Fault("ValidationError", "body.malformed", "The body is not a JSON object");
  }
  const members = membersOf(text);
  requireUnequivocal(members, names);
  const { data, error } = Known.safeParse(value);
  if (error) {
    const [first] = error.issues;
    throw invalid(first?.path.join(".") ?? "body", first?.message ?? "It is not as it should be");
  }
  const field = endpoint === "embeddings" ? "input" : "messages";
  const content = members.find(({ key }) => key === field);
  if (!content || data.messages?.length === 0) {
    throw invalid(field, field === "input" ? "Give what to embed" : "Give at least one message");
  }
  const model = data.model ?? allowed.model;
  for (const each of [model, ...data.models ?? []]) requireAllowed(each, allowed);
  return {
    endpoint,
    text,
    members,
    model,
    isStreamed: endpoint === "chat.completions" && data.stream === true,
    wantsUsage: data.stream_options?.include_usage === true,
    inputTokens: tokensOf(text.slice(content.from, content.to)),
    known: data,
  };
}

/** Throws ModelNotAllowed for a model that is not, letter by letter, in the team's list. */
export function requireAllowed(model: string, { availableModels }: Effective): void {
  if (availableModels.includes(model)) return;
  throw new Fault("ModelNotAllowed", "model.not_allowed", "The team may not use this model", {
    fields: [{ field: "model", message: "Give one that GET /v1/models lists" }],
  });
}

const encoder = new TextEncoder();

/** The stated rule for what nobody else counted: a token for four bytes of UTF-8, begun ones whole. */
export function tokensOf(text: string): number {
  const told = text.includes(";base64,")
    ? text.replaceAll(/"data:[^"]{0,200};base64,[^"]*"/g, '""')
    : text;
  return Math.ceil(encoder.encode(told).byteLength / BYTES_A_TOKEN);
}

/** The text as an upstream is sent it: under the name it knows the model by, its usage asked for. */
export function textFor(request: ChatRequest, model: string): string {
  const { text, members, isStreamed, wantsUsage, known } = request;
  const options = { ...known.stream_options, include_usage: true };
  return withMembers(text, members, {
    model: JSON.stringify(model),
    ...isStreamed && !wantsUsage ? { stream_options: JSON.stringify(options) } : {},
  });
}
