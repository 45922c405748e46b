/** What OpenAI refuses, in OpenAI's words; fields it does not know are let through, as others do. */

export type Body = Record<string, unknown>;

export interface Failure {
  status: number;
  /** OpenAI's own body for this status when left out. */
  body?: unknown;
  headers?: Record<string, string>;
}

export const isBody = (value: unknown): value is Body =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export const listOf = (value: unknown): unknown[] => Array.isArray(value) ? value : [];

type Words = { type?: string; param?: string; code?: string };

const problem = (message: string, { type = "invalid_request_error", param, code }: Words = {}) => ({
  error: { message, type, param: param ?? null, code: code ?? null },
});

const refusal = (status: number, message: string, words?: Words): Failure => ({
  status,
  body: problem(message, words),
});

export const serverError = problem(
  "The server had an error while processing your request. Sorry about that!",
  { type: "server_error" },
);

const perMinute = "Rate limit reached for requests per min (RPM): Limit 3, Used 3, Requested 1. " +
  "Please try again in 1s.";
const noQuota = "You exceeded your current quota, please check your plan and billing details. " +
  "For more information on this error, read the docs: " +
  "https://platform.openai.com/docs/guides/error-codes/api-errors.";

const usual: Record<number, Failure> = {
  401: refusal(
    401,
    "Incorrect API key provided: sk-****. You can find your API key at " +
      "https://platform.openai.com/account/api-keys.",
    { code: "invalid_api_key" },
  ),
  403: refusal(403, "Your project does not have access to this model.", {
    code: "model_not_found",
  }),
  429: {
    ...refusal(429, perMinute, { type: "requests", code: "rate_limit_exceeded" }),
    headers: { "retry-after": "1", "retry-after-ms": "1000" },
  },
  500: { status: 500, body: serverError },
  503: refusal(503, "The engine is currently overloaded, please try again later", {
    type: "server_error",
  }),
};

/** The failure with the body and headers OpenAI gives this status, where none are given. */
export function complete({ status, body, headers }: Failure): Required<Failure> {
  const known = usual[status] ?? refusal(status, `The stand-in was told to answer ${status}.`, {
    type: status < 500 ? "invalid_request_error" : "server_error",
  });
  return { status, body: body ?? known.body, headers: headers ?? known.headers ?? {} };
}

export const quotaExceeded = refusal(429, noQuota, {
  type: "insufficient_quota",
  code: "insufficient_quota",
});

const noKey = "You didn't provide an API key. You need to provide your API key in an " +
  "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as the " +
  "password field (with blank username) if you're accessing the API from your browser and are " +
  "prompted for a username and password. You can obtain an API key from " +
  "https://platform.openai.com/account/api-keys.";

const masked = (key: string) =>
  key.length < 12 ? key.replace(/.(?=.{2})/g, "*") : `${key.slice(0, 8)}****${key.slice(-4)}`;

export function refuseKey(authorization: string | undefined, keys: string[]): Failure | undefined {
  const key = /^Bearer (.+)$/i.exec(authorization ?? "")?.[1];
  if (key === undefined) return refusal(401, noKey);
  if (keys.includes(key)) return undefined;
  const message = `Incorrect API key provided: ${masked(key)}. You can find your API key at ` +
    "https://platform.openai.com/account/api-keys.";
  return refusal(401, message, { code: "invalid_api_key" });
}

export const unparsable = refusal(
  400,
  "We could not parse the JSON body of your request. (HINT: This likely means you aren't using " +
    "your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was " +
    "not valid JSON. If you have trouble figuring out how to fix this, please contact us through " +
    "our help center at help.openai.com.)",
);

export const invalidUrl = (method: string, path: string) =>
  refusal(404, `Invalid URL (${method} ${path})`);

export const wrongMethod = (method: string, path: string) =>
  refusal(
    405,
    `Not allowed to ${method} on ${path}. (HINT: Perhaps you meant to use a different HTTP ` +
      "method?)",
    { code: "method_not_supported" },
  );

const unknownModel = (model: string) =>
  refusal(404, `The model \`${model}\` does not exist or you do not have access to it.`, {
    code: "model_not_found",
  });

export const noSuchModel = (model: string) =>
  refusal(404, `The model '${model}' does not exist`, { param: "model", code: "model_not_found" });

export function refuseModel({ model }: Body, models: string[]): Failure | undefined {
  if (model === undefined || model === null || model === "") {
    return refusal(400, "you must provide a model parameter");
  }
  if (typeof model !== "string") return wrongType("model", "a string", model);
  return models.includes(model) ? undefined : unknownModel(model);
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "number") return Number.isInteger(value) ? "an integer" : "a decimal";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

export const wrongType = (param: string, wanted: string, value: unknown) =>
  refusal(
    400,
    `Invalid type for '${param}': expected ${wanted}, but got ${kindOf(value)} instead.`,
    { param, code: "invalid_type" },
  );

export const missing = (param: string) =>
  refusal(400, `Missing required parameter: '${param}'.`, {
    param,
    code: "missing_required_parameter",
  });

export const emptyArray = (param: string) =>
  refusal(
    400,
    `Invalid '${param}': empty array. Expected an array with minimum length 1, but got an empty ` +
      "array instead.",
    { param, code: "empty_array" },
  );

export const invalidValue = (param: string, value: string, supported: string[]) => {
  const all = supported.map((each) => `'${each}'`);
  const list = `${all.slice(0, -1).join(", ")}, and ${all.at(-1)}`;
  return refusal(400, `Invalid value: '${value}'. Supported values are: ${list}.`, {
    param,
    code: "invalid_value",
  });
};

export const invalidParameter = (message: string, param: string) =>
  refusal(400, message, { param });

export function outOfRange(param: string, value: number, bound: number, kind: string): Failure {
  const isBelow = value < bound;
  const [side, sign] = isBelow ? ["below minimum", ">="] : ["above maximum", "<="];
  return refusal(
    400,
    `Invalid '${param}': ${kind} ${side} value. Expected a value ${sign} ${bound}, but got ` +
      `${value} instead.`,
    { param, code: `${kind}_${isBelow ? "below_min" : "above_max"}_value` },
  );
}
