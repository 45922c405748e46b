/** How the OpenAPI document describes the gateway: OpenAI's paths, its bodies as far as we read them, its errors. */
import { MAX_REQUEST_BYTES } from "../src/teams/gateway/requests.ts";
import { refusals } from "./operations.ts";
import type { Json } from "./schemas.ts";

const text = (maxLength: number, more: Json = {}): Json => ({
  type: "string",
  maxLength,
  pattern: "^[^\\u0000]*$",
  ...more,
});
const count: Json = { type: "integer", format: "int32", minimum: 0, maximum: 2_147_483_647 };
const named = (kind: string, name: string): Json => ({ $ref: `#/components/${kind}/${name}` });
const list = (items: Json, more: Json = {}): Json => ({
  type: "array",
  maxItems: 10_000,
  items,
  ...more,
});

const model = text(255, {
  description: "One that `GET /v1/models` lists; the team's default when it is left out.",
  examples: ["openai/gpt-4o-mini"],
});
const user = text(255, { description: "Whom the team asks for: usage is counted by it." });

/** What we read of them. Every other field goes on as it came, in both directions. */
const schemas: Record<string, Json> = {
  OpenAiError: {
    type: "object",
    description: "What went wrong, in OpenAI's shape.",
    properties: {
      error: {
        type: "object",
        properties: {
          message: text(20_000),
          type: text(64),
          param: { ...text(200), type: ["string", "null"], description: "The field to blame." },
          code: text(64, { description: "A stable machine word." }),
        },
        required: ["message", "type", "param", "code"],
      },
    },
    required: ["error"],
  },
  ChatCompletionRequest: {
    type: "object",
    description: "As OpenAI's clients send it.",
    properties: {
      model,
      messages: list({ type: "object" }, { minItems: 1, description: "What was said so far." }),
      stream: { type: "boolean", description: "Answer event by event, ended by `[DONE]`." },
      user,
    },
    required: ["messages"],
  },
  ChatCompletion: {
    type: "object",
    description: "As the model's provider gave it.",
    properties: {
      id: text(255),
      object: text(64),
      model: text(255),
      choices: list({ type: "object" }),
      usage: {
        type: "object",
        properties: { prompt_tokens: count, completion_tokens: count, total_tokens: count },
      },
    },
  },
  EmbeddingRequest: {
    type: "object",
    description: "As OpenAI's clients send it.",
    properties: { model, input: { description: "A text, or a list of texts or tokens." }, user },
    required: ["input"],
  },
  Embeddings: {
    type: "object",
    description: "As the model's provider gave it.",
    properties: {
      object: text(64),
      model: text(255),
      data: list({ type: "object" }),
      usage: { type: "object", properties: { prompt_tokens: count, total_tokens: count } },
    },
  },
  GatewayModel: {
    type: "object",
    description: "A model that the team may use.",
    properties: {
      id: text(255),
      object: { type: "string", enum: ["model"] },
      created: count,
      owned_by: text(255, { description: "The upstream that serves it." }),
    },
    required: ["id", "object", "created", "owned_by"],
  },
  GatewayModels: {
    type: "object",
    description: "The models that the team may use, its default first.",
    properties: {
      object: { type: "string", enum: ["list"] },
      data: list(named("schemas", "GatewayModel")),
    },
    required: ["object", "data"],
  },
};

const header = (description: string, schema: Json = text(64)): Json => ({ description, schema });
const common = {
  "X-Request-Id": named("headers", "XRequestId"),
  RateLimit: named("headers", "RateLimit"),
};
const rates = {
  ...common,
  "X-RateLimit-Limit-Requests": header("What the team may send in a minute.", count),
  "X-RateLimit-Remaining-Requests": header("What is left of it.", count),
  "X-RateLimit-Reset-Requests": header("Until all of it is back: `60s`."),
};
/** Only of a quota that has an end. */
const quotas = Object.fromEntries(["Day", "Month"].flatMap((period) => [
  [`X-Quota-Limit-${period}`, header(`Requests the team has in a ${period.toLowerCase()}.`, count)],
  [`X-Quota-Remaining-${period}`, header("What is left of them.", count)],
  [`X-Quota-Reset-${period}`, header("When the next begins, as RFC 3339.")],
]));

const told: Record<number, string> = {
  400: "The request is not as it should be: `param` names the field.",
  401: "`invalid_api_key`: no key, or one that does not hold (any more).",
  403:
    "`model_not_allowed`; `session_not_yours` for a conversation of another key; `forbidden` to " +
    "whoever has no team's key.",
  409: "`conflict`: the conversation waits for an answer; or the provider's own refusal.",
  404: "`not_found`: the team may use no such model.",
  413: `\`request_too_large\`: more than ${MAX_REQUEST_BYTES} bytes.`,
  415: "The body is not JSON.",
  422: "The model's provider refuses the request.",
  429:
    "`insufficient_quota`: used up until `Retry-After`, so that trying again is no use before; " +
    "or `rate_limit_exceeded`: over in a minute.",
  500: "Something broke on our side.",
  502: "The model's provider failed, or does not accept us.",
  503: "Nobody serves the model at present, its provider is busy, or too much is sent at once.",
  504: "The model did not answer in time.",
};
const nameOf = (status: string | number) => `OpenAi${refusals[Number(status)]}`;

const responses: Record<string, Json> = Object.fromEntries(
  Object.entries(told).map(([status, description]) => [nameOf(status), {
    description,
    headers: {
      ...(status === "401" ? common : { ...rates, ...quotas }),
      "X-Should-Retry": header("Whether the same may go better later: what OpenAI's clients obey."),
      ...(status === "401" ? { "WWW-Authenticate": named("headers", "WWWAuthenticate") } : {}),
      ...(status === "429" || status === "503"
        ? { "Retry-After": named("headers", "RetryAfter") }
        : {}),
    },
    content: { "application/json": { schema: named("schemas", "OpenAiError") } },
  }]),
);

type About = { summary: string; description: string; answer: Json; statuses: number[] };
const operation = (
  name: string,
  { summary, description, answer, statuses }: About,
  more: Json,
): Json => ({
  operationId: `teams.gateway.${name}`,
  tags: ["teams"],
  summary,
  description: `${description} Asked with a team's key. Needs the permission \`chat.send\`.`,
  security: [{ bearer: [] }, { apiKey: [] }],
  "x-permission": "chat.send",
  ...more,
  responses: {
    200: answer,
    ...Object.fromEntries(
      statuses.map((status) => [status, named("responses", nameOf(status))]),
    ),
  },
});

const asked = (schema: string): Json => ({
  requestBody: {
    required: true,
    description: "The request as JSON.",
    content: { "application/json": { schema: named("schemas", schema) } },
  },
});
const passedOn = [400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504];
const looked = [401, 403, 404, 429, 500, 503];
const events = text(16_777_216, { description: "Server-sent events, one JSON text each." });

const sessionUser: Json = {
  name: "X-Session-User",
  in: "header",
  required: false,
  description: "Whom it is said for. What they said before is put in front, and the turn is kept.",
  schema: text(255),
};

/** What a model answered, and with which headers. */
const answered = (schema: string, isChat = false): Json => ({
  description: "What the model answered.",
  headers: {
    ...rates,
    ...quotas,
    "X-Model": header("The model that answered.", text(255)),
    ...(isChat ? { "X-Session-Id": header("The conversation, where one is kept.") } : {}),
  },
  content: {
    "application/json": { schema: named("schemas", schema) },
    ...(isChat ? { "text/event-stream": { schema: events } } : {}),
  },
});
const shown = (schema: string): Json => ({
  description: "What the team may use.",
  headers: { ...rates, ...quotas },
  content: { "application/json": { schema: named("schemas", schema) } },
});

/** For the OpenAPI document: paths that are no procedures, and what they refer to. */
export const pathItems: Record<string, Json> = {
  "/v1/chat/completions": {
    post: operation("chatCompletions", {
      summary: "Complete a chat",
      description:
        "OpenAI's chat completions, whole or streamed. A stream that breaks off says so " +
        "in an error event before `[DONE]`.",
      answer: answered("ChatCompletion", true),
      statuses: passedOn,
    }, { ...asked("ChatCompletionRequest"), parameters: [sessionUser] }),
  },
  "/v1/embeddings": {
    post: operation("embeddings", {
      summary: "Embed texts",
      description: "OpenAI's embeddings.",
      answer: answered("Embeddings"),
      statuses: passedOn,
    }, asked("EmbeddingRequest")),
  },
  "/v1/models": {
    get: operation("models", {
      summary: "List the models a team may use",
      description: "In the team's own order.",
      answer: shown("GatewayModels"),
      statuses: looked,
    }, {}),
  },
  "/v1/models/{model}": {
    get: operation("model", {
      summary: "Get a model a team may use",
      description: "One of those listed.",
      answer: shown("GatewayModel"),
      statuses: looked,
    }, {
      parameters: [{
        name: "model",
        in: "path",
        required: true,
        description: "Its name, which may hold slashes.",
        schema: text(255),
      }],
    }),
  },
};

export const components = { schemas, responses };
