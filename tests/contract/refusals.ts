/** What a refusal must look like whoever asked for what: asked here once for all tests of bad input. */
import assert from "node:assert/strict";
import type { Entry } from "../../routers/procedures.ts";
import { type Call, isJson, type Json, rests, spotsOf, trpc } from "./doors.ts";
import { type Example, example } from "./examples.ts";
import { entries, house } from "./house.ts";

/** Words that belong to our insides. */
export const insides =
  /postgres|drizzle|pglite|\bsql\b|select |insert into|update .* set|relation "|column "|constraint|stack|node_modules|\.ts:\d|file:\/\/|\/src\/|at async|zod|superjson|TypeError|undefined is not/i;

/** The fields a refusal names, over REST and over tRPC. */
export function fieldsOf(body: Json): string[] {
  const fields: unknown =
    isJson(body.error) && isJson(body.error.json) && isJson(body.error.json.data)
      ? isJson(body.error.json.data.fault) && body.error.json.data.fault.fields
      : body.errors;
  return Array.isArray(fields) ? fields.map((field) => String(field.field)) : [];
}

export const hasInput = entries.filter((entry) => spotsOf(entry).length > 0);
export const doors = (entry: Entry, input: unknown) => [trpc(entry, input), ...rests(entry, input)];

/** A house with one good call of everything, and `refused`, which asks for the bad ones. */
export async function desk() {
  const field = await house();
  const side = await field.side(field.root.tenantId, "Harbour Bakery");
  const made = new Map<string, Required<Example>>();
  for (const { path } of entries) made.set(path, await example(field, side, path));
  const madeOf = ({ path }: Entry) => made.get(path) ?? { input: {}, as: side.boss, secrets: [] };

  /** Asks, and answers what came back; fails on anything a caller must not see. */
  async function refused(call: Call, entry: Entry, what: string): Promise<Json> {
    const answer = await field.w.request(call.url, call.init, madeOf(entry).as);
    const text = await answer.text();
    const label = `${entry.path}, ${what} (${call.init.method} ${call.url.slice(0, 120)})`;
    assert.ok(answer.status < 500, `${label} broke: ${answer.status} ${text.slice(0, 300)}`);
    assert.ok(
      answer.status >= 400,
      `${label} was accepted: ${answer.status} ${text.slice(0, 300)}`,
    );
    assert.ok(
      !insides.test(text),
      `${label} shows our insides: ${insides.exec(text)} in ${text.slice(0, 500)}`,
    );
    assert.ok(text.length < 64_000, `${label} answers ${text.length} characters`);
    assert.ok(answer.headers.get("x-request-id"), `${label} has no request id`);
    const body: unknown = text === "" ? {} : JSON.parse(text);
    return isJson(body) ? body : {};
  }

  return { field, side, madeOf, refused };
}
