/** What an upstream says went wrong, and what of it is the client's business. */
import { faults } from "../../errors.ts";
import { isObject } from "../../objects.ts";

/** In words of ours, as the status it is answered with. */
export type Ours = { status: number; message: string; code: string; mayHelp: boolean };
export type ToldError = { message: string; type: string; param: string | null; code: string };

const auth: Ours = {
  status: 502,
  message: "The model's provider does not accept us: its key is wrong",
  code: "upstream_auth",
  mayHelp: false,
};
const between = new Map<number, Ours>([
  [401, auth],
  [403, auth],
  [402, {
    status: 502,
    message: "What was paid the model's provider is used up",
    code: "upstream_quota",
    mayHelp: false,
  }],
  [404, {
    status: 502,
    message: "The provider does not know the model",
    code: "upstream_model",
    mayHelp: false,
  }],
  [429, {
    status: 503,
    message: "The model's provider is busy: try again shortly",
    code: "upstream_busy",
    mayHelp: true,
  }],
]);

/** What an upstream's status says of us and it; null for what is about neither. */
export const betweenUs = (status: number): Ours | null => between.get(status) ?? null;

/** OpenAI says with the same status that one is too fast and that one's money is spent. */
export const isUsedUp = (told: unknown) =>
  isObject(told) && isObject(told.error) && told.error.code === "insufficient_quota";

/** Where they put their sentence: FastAPI in `detail`, Ollama in `error`, vLLM in `message`. */
export function saidBy(told: unknown): string | null {
  if (!isObject(told)) return null;
  const said = [told.error, told.message, told.detail].find((text) => typeof text === "string");
  return typeof said === "string" ? said.slice(0, 1_000) : null;
}

const anyOf = (...words: string[]) => new RegExp(words.join("|"), "i");

/** In a stream, words stand for the status: each provider has its own. The first that fits. */
const words: [number, RegExp][] = [
  [402, anyOf("insufficient.?(quota|credit|fund|balance)", "payment.?required", "credit balance")],
  [401, anyOf("api.?key", "unauthori[sz]ed", "authentication", "unauthenticated")],
  [403, anyOf("permission.?(error|denied)", "account.?deactivated")],
  [404, anyOf("model.?not.?found")],
  [429, anyOf("rate.?limit", "too.?many.?requests", "resource.?exhausted")],
  [402, anyOf("billing", "\\bcredits\\b", "quota exceeded", "exceeded.{1,20}quota")],
];

/** What else an error has may name whose account it was. */
const TELLING =
  /account|\borg(_|\b)|organi[sz]ation|project|user|key|billing|balance|credit|quota/i;

/** The error that a stream's event tells, whatever its shape; null where it tells none. */
function errorIn(value: unknown): Record<string, unknown> | null {
  if (!isObject(value)) return null;
  const { error, code, status } = value;
  if (isObject(error)) return error;
  if (error) return { message: error, code, status };
  return value.object === "error" ? value : null;
}

/** The status that names or a sentence stand for; of numbers, the one that is one. */
function statusBy(said: readonly unknown[]): number | null {
  const [text, numbers] = [said.join(" "), said.map(Number)];
  const found = words.find(([status, word]) => numbers.includes(status) || word.test(text));
  return found?.[0] ?? null;
}

/** The same as a client may hear it, in OpenAI's shape. */
export function toldError(value: unknown): ToldError | null {
  const told = errorIn(value);
  if (!told) return null;
  const { message, type, param, code, ...others } = told;
  const said = typeof message === "string" ? message : saidBy(told);
  const known = [type, code, told.status, told.status_code]
    .filter((it) => typeof it === "string" || typeof it === "number");
  const ours = betweenUs(statusBy(known) ?? statusBy([said]) ?? 0);
  if (ours) return { message: ours.message, type: "server_error", param: null, code: ours.code };
  const harmless = Object.entries(others).filter((it) => !TELLING.test(JSON.stringify(it)));
  return {
    message: said || faults.ProviderError.title,
    type: typeof type === "string" ? type : "server_error",
    param: typeof param === "string" ? param : null,
    code: typeof code === "string" || typeof code === "number" ? String(code) : "upstream_error",
    ...Object.fromEntries(harmless),
  };
}
