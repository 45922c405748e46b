/** Queries have a shorter way through the house: it must lead to the same answers as the long one. */
import assert from "node:assert/strict";
import superjson from "superjson";
import { swiftQueries } from "../../routers/swift.ts";
import { appRouter } from "../../routers/mod.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import { example } from "../contract/examples.ts";
import { house } from "../contract/house.ts";

Deno.test("swiftQueries answer what tRPC's own chain answers, first and from the cache", async () => {
  const home = await house();
  const ours = await home.side(ROOT_TENANT, "Harbour Bakery");
  const paths = [...swiftQueries(appRouter).keys()];
  assert.ok(paths.length >= 8, "There are guarded queries");
  for (const path of paths) {
    const { input, as } = await example(home, ours, path);
    const text = encodeURIComponent(JSON.stringify(superjson.serialize(input)));
    for (const how of ["single", "single", "batch"]) {
      const query = how === "single"
        ? `input=${text}`
        : `batch=1&input=${
          encodeURIComponent(`{"0":${JSON.stringify(superjson.serialize(input))}}`)
        }`;
      const answer = await home.w.request(`/trpc/${path}?${query}`, {}, as);
      const body: unknown = await answer.json();
      assert.equal(answer.status, 200, `${path}: ${JSON.stringify(body)}`);
      const { result } = Object(how === "single" ? body : Reflect.get(Object(body), 0));
      const told = superjson.deserialize(result.data);
      assert.deepEqual(told, await home.w.knock(as, path, input), path);
    }
  }
  await home.close();
});
