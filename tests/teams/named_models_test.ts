/** Models that a request names besides its own are found, however many there are. */
import assert from "node:assert/strict";
import { furtherModels } from "../../src/teams/gateway/named_models.ts";

Deno.test("furtherModels finds more models than a call takes arguments, each with its field", () => {
  const many = Array.from({ length: 300_000 }, (_, n) => ({ model: `m${n}` }));
  for (const [field, value] of [["fallbacks", many], ["tools", [{ type: "web", many }]]] as const) {
    const named = furtherModels([["model", "own"], [field, value]]);
    assert.equal(named.length, many.length);
    assert.deepEqual(new Set(named.map((one) => one.field)), new Set([field]));
    assert.equal(new Set(named.map(({ model }) => model)).size, many.length);
  }
});
