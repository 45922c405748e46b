/**
 * Models that a request names besides its own. Routers behind an upstream take them in fields of their
 * own (LiteLLM's `fallbacks`, Vercel's `providerOptions.gateway.models`), and each may come to answer.
 */
import { isObject } from "../../objects.ts";

export type Named = { field: string; model: string };

/** What is said, and to whom: a model that is named there is talked about and not asked. */
const spoken = new Set([
  ...["messages", "input", "tools", "functions", "response_format", "metadata", "prediction"],
  ...["model", "models", "user"],
]);
const names = (key: string) => /models?$|fallback/.test(key.toUpperCase().toLowerCase());

/** A function's or a custom tool's description is the client's own; other tools are the provider's. */
const isTheirs = (tool: unknown) =>
  isObject(tool) && tool.type !== "function" && tool.type !== "custom";

function* namedIn(field: string, value: unknown): Generator<Named> {
  // By hand and not by calls of itself: how deep it goes is the sender's to say.
  const open = [{ value, isName: names(field) }];
  for (let next = open.pop(); next; next = open.pop()) {
    const { value, isName } = next;
    if (typeof value === "string" && isName) yield { field, model: value };
    if (!isObject(value)) continue;
    const isList = Array.isArray(value);
    for (const [key, item] of Object.entries(value)) {
      if (!isList && spoken.has(key) && !names(key)) continue;
      open.push({ value: item, isName: isName || (!isList && names(key)) });
    }
  }
}

/** Every model that is named in a request's members, `model` and `models` themselves apart. */
export function furtherModels(members: readonly [string, unknown][]): Named[] {
  const named: Named[] = [];
  // One by one: there may be more than a call takes arguments.
  const add = (field: string, value: unknown) => {
    for (const one of namedIn(field, value)) named.push(one);
  };
  for (const [field, value] of members) {
    if (field === "tools" && Array.isArray(value)) {
      for (const tool of value) if (isTheirs(tool)) add(field, tool);
    } else if (!spoken.has(field)) add(field, value);
  }
  return named;
}
