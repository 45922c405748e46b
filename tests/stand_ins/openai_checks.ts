/** Reads a request as OpenAI does and finds the first thing it would refuse. */
import {
  type Body,
  emptyArray,
  type Failure,
  invalidParameter,
  invalidValue,
  isBody,
  listOf,
  missing,
  outOfRange,
  wrongType,
} from "./openai_refusals.ts";

type Rule = (value: unknown, param: string) => Failure | undefined;

const number = (kind: "integer" | "decimal", min: number, max: number): Rule => (value, param) => {
  const isRight = typeof value === "number" && (kind === "decimal" || Number.isInteger(value));
  if (!isRight) return wrongType(param, kind === "decimal" ? "a decimal" : "an integer", value);
  if (value < min) return outOfRange(param, value, min, kind);
  return value > max ? outOfRange(param, value, max, kind) : undefined;
};

const kind = (wanted: string, isRight: (value: unknown) => boolean): Rule => (value, param) =>
  isRight(value) ? undefined : wrongType(param, wanted, value);

const boolean = kind("a boolean", (value) => typeof value === "boolean");
const object = kind("an object", isBody);
const objects = kind("an array of objects", (value) => Array.isArray(value) && value.every(isBody));
const text = kind("a string", (value) => typeof value === "string");
const texts = kind(
  "one of a string or array of strings",
  (value) => [value].flat().every((each) => typeof each === "string"),
);

const rules: Record<string, Rule> = {
  frequency_penalty: number("decimal", -2, 2),
  max_completion_tokens: number("integer", 1, Infinity),
  max_tokens: number("integer", 1, Infinity),
  n: number("integer", 1, 128),
  parallel_tool_calls: boolean,
  presence_penalty: number("decimal", -2, 2),
  response_format: object,
  seed: number("integer", -Infinity, Infinity),
  stop: texts,
  stream: boolean,
  stream_options: object,
  temperature: number("decimal", 0, 2),
  tools: objects,
  top_p: number("decimal", 0, 1),
  user: text,
};

/** Every field of chat completions; what is not among them is echoed. */
export const knownFields = new Set([
  ...Object.keys(rules),
  ...["audio", "function_call", "functions", "logit_bias", "logprobs", "messages", "metadata"],
  ...["modalities", "model", "moderation", "prediction", "prompt_cache_key"],
  ...["prompt_cache_retention", "reasoning_effort", "safety_identifier", "service_tier", "store"],
  ...["tool_choice", "top_logprobs", "verbosity", "web_search_options"],
]);

const roles = ["system", "assistant", "user", "function", "tool", "developer"];

function refuseMessage(message: unknown, at: number, before: Body | undefined) {
  const param = `messages[${at}]`;
  if (!isBody(message)) return wrongType(param, "an object", message);
  const { role, content, tool_calls: calls } = message;
  if (role === undefined) return missing(`${param}.role`);
  if (typeof role !== "string") return wrongType(`${param}.role`, "a string", role);
  if (!roles.includes(role)) return invalidValue(`${param}.role`, role, roles);
  if (calls !== undefined && listOf(calls).length === 0) return emptyArray(`${param}.tool_calls`);
  if (role === "tool" && before?.role !== "tool" && before?.tool_calls === undefined) {
    return invalidParameter(
      "Invalid parameter: messages with role 'tool' must be a response to a preceeding message " +
        "with 'tool_calls'.",
      `messages.[${at}].role`,
    );
  }
  const mayBeSilent = role === "assistant";
  if (content === undefined && !mayBeSilent) return missing(`${param}.content`);
  const isRight = typeof content === "string" || objects(content, "") === undefined ||
    ((content === null || content === undefined) && mayBeSilent);
  if (isRight) return undefined;
  return wrongType(`${param}.content`, "one of a string or array of objects", content);
}

function refuseMessages(messages: unknown): Failure | undefined {
  if (messages === undefined) return missing("messages");
  if (!Array.isArray(messages)) return wrongType("messages", "an array of objects", messages);
  if (messages.length === 0) return emptyArray("messages");
  for (const [at, message] of messages.entries()) {
    const before: unknown = messages[at - 1];
    const refused = refuseMessage(message, at, isBody(before) ? before : undefined);
    if (refused) return refused;
  }
}

function refuseTools(tools: unknown): Failure | undefined {
  for (const [at, tool] of listOf(tools).entries()) {
    if (!isBody(tool) || tool.type !== "function") continue;
    if (!isBody(tool.function)) return missing(`tools[${at}].function`);
    if (typeof tool.function.name !== "string") return missing(`tools[${at}].function.name`);
  }
}

export function refuseChat(body: Body): Failure | undefined {
  const refused = refuseMessages(body.messages);
  if (refused) return refused;
  for (const [param, rule] of Object.entries(rules)) {
    const value = body[param];
    const wrong = value === undefined || value === null ? undefined : rule(value, param);
    if (wrong) return wrong;
  }
  if (body.stream_options && body.stream !== true) {
    return invalidParameter(
      "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
      "stream_options",
    );
  }
  const { response_format: format } = body;
  const mentionsJson = /json/i.test(JSON.stringify(body.messages));
  if (isBody(format) && format.type === "json_object" && !mentionsJson) {
    return invalidParameter(
      "'messages' must contain the word 'json' in some form, to use 'response_format' of type " +
        "'json_object'.",
      "messages",
    );
  }
  return refuseTools(body.tools);
}

export function refuseEmbeddings({ input }: Body): Failure | undefined {
  if (input === undefined) return missing("input");
  const isText = typeof input === "string" && input !== "";
  const isList = Array.isArray(input) && input.length > 0 &&
    input.every((each) => (typeof each === "string" && each !== "") || isTokens(each));
  if (isText || isList) return undefined;
  return invalidParameter(
    "'$.input' is invalid. Please check the API reference: " +
      "https://platform.openai.com/docs/api-reference.",
    "input",
  );
}

const isTokens = (value: unknown) =>
  Number.isInteger(value) ||
  (Array.isArray(value) && value.length > 0 && value.every((each) => Number.isInteger(each)));
