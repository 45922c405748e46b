/** A house whose every answer is held against /openapi.json, and words to speak of answers. */
import assert from "node:assert/strict";
import type { Document } from "../../routers/openapi.ts";
import type { Principal } from "../../src/context.ts";
import { conformityOf } from "../surfaces/conformity.ts";
import { isJson } from "./doors.ts";
import { house } from "./house.ts";

export type Answer = { status: number; body: unknown; headers: Headers };
/** An operation of the documents, and the statuses it answers by their word. */
export type Promised = readonly [method: string, path: string, statuses: number[]];

export const nobody = "01900000-0000-7000-8000-00000000dead";

export async function documented() {
  const field = await house();
  const { w } = field;
  const side = await field.side(field.root.tenantId, "Harbour Bakery");
  const served = await w.request("/openapi.json");
  const document: Document = await served.json();
  const problemsOf = conformityOf(document);

  /** Asks; the answer must be one that the OpenAPI document describes. */
  async function ask(
    who: Principal | null,
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const init = { method, headers, ...body === undefined ? {} : { body: JSON.stringify(body) } };
    const response = await w.request(path, init, who);
    const text = await response.text();
    const value: unknown = text === "" ? "" : JSON.parse(text);
    const label = `${method} ${path} answers ${response.status} ${text.slice(0, 500)}`;
    const [bare = ""] = path.split("?");
    assert.deepEqual(problemsOf(method, bare, response.status, value), [], label);
    return { status: response.status, body: value, headers: response.headers };
  }

  function assertPromised(promised: readonly Promised[]) {
    for (const [method, path, statuses] of promised) {
      const responses = at(document.paths, path, method, "responses");
      for (const status of statuses) {
        assert.ok(
          status in Object(responses),
          `${method} ${path} does not say that it answers ${status}`,
        );
      }
    }
  }

  return { field, side, document, problemsOf, ask, assertPromised };
}

export const fieldsOf = (value: unknown) => Object.keys(isJson(value) ? value : {}).sort();
export const at = (value: unknown, ...path: string[]): unknown =>
  path.reduce((part: unknown, key) => isJson(part) ? part[key] : undefined, value);

export function assertProblem({ status, body, headers }: Answer, expected: number, code: string) {
  assert.equal(status, expected, JSON.stringify(body));
  assert.equal(at(body, "code"), code);
  assert.match(headers.get("content-type") ?? "", /^application\/problem\+json/);
}
