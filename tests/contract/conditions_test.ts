/** If-Match does what /openapi.json says: where it is listed a stale tag is refused, elsewhere it is not read. */
import assert from "node:assert/strict";
import type { Document } from "../../routers/openapi.ts";
import { etagOf } from "../../src/etags.ts";
import { placesOf, restAt, withHeaders } from "./doors.ts";
import { example } from "./examples.ts";
import { entries, house } from "./house.ts";

const field = await house();
const side = await field.side(field.root.tenantId, "Harbour Bakery");
const served = await field.w.request("/openapi.json");
const document: Document = await served.json();

const operationAt = (path: string, method: string): unknown =>
  Reflect.get(Object(document.paths[path]), method.toLowerCase());

Deno.test("If-Match with a stale tag answers 412 at each operation that lists it, and at no other", async () => {
  const stale = { "if-match": etagOf(crypto.randomUUID(), new Date(0)) };
  let listed = 0;
  for (const entry of entries) {
    for (const place of placesOf(entry)) {
      const text = JSON.stringify(operationAt(place.path, place.method));
      const isListed = text.includes("/parameters/IfMatch");
      assert.equal(text.includes('"412"'), isListed, `${place.path}: If-Match and 412 go together`);
      const { input, as } = await example(field, side, entry.path);
      const { url, init } = withHeaders(restAt(place, entry, input), stale);
      const response = await field.w.request(url, init, as);
      const answer = await response.text();
      const label = `${entry.path} at ${place.path}: ${answer}`;
      assert.equal(response.status, isListed ? 412 : place.status, label);
      if (isListed) listed++;
    }
  }
  assert.ok(listed > 5);
});

Deno.test("the house of this test is closed", () => field.close());
