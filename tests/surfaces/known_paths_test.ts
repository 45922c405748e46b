/** A path asked for again is routed as the first time, and nobody fills what is kept. */
import assert from "node:assert/strict";
import { Hono } from "hono";
import { RegExpRouter } from "hono/router/reg-exp-router";
import { SmartRouter } from "hono/router/smart-router";
import { TrieRouter } from "hono/router/trie-router";
import { KnownPaths } from "../../routers/known_paths.ts";

function routed(hono: Hono): Hono {
  hono.use(async (c, next) => {
    await next();
    c.res.headers.set("x-seen", c.req.path);
  });
  hono.get("/things", (c) => c.text("all"));
  hono.get("/things/new", (c) => c.text("new"));
  hono.get("/things/:id", (c) => c.text(`one ${c.req.param("id")}`));
  hono.put("/things/:id", (c) => c.text(`put ${c.req.param("id")}`));
  hono.get("/:kind/new", (c) => c.text(`new ${c.req.param("kind")}`));
  hono.post("/things/:id{.+}/deep", (c) => c.text(`deep ${c.req.param("id")}`));
  hono.all("/things", (c) => c.text(`not ${c.req.method}`, 405));
  hono.all("/files/*", (c) => c.text("file"));
  return hono;
}

const asks = ["/things", "/things/new", "/things/7", "/others/new", "/things/a/b/deep", "/files/x"]
  .concat(["/things/:id", "/:kind/new", "/files/*", "/nothing", "/things/"]);

Deno.test("every path is answered as by Hono's own routers, the second time too", async () => {
  const theirs = routed(
    new Hono({ router: new SmartRouter({ routers: [new RegExpRouter(), new TrieRouter()] }) }),
  );
  const ours = routed(new Hono({ router: new KnownPaths() }));
  for (const turn of [1, 2]) {
    for (const path of asks) {
      for (const method of ["GET", "HEAD", "POST", "PUT", "DELETE", "BREW"]) {
        const [mine, other] = await Promise.all(
          [ours, theirs].map((hono) => hono.request(path, { method })),
        );
        assert.ok(mine && other);
        const tell = async (answer: Response) => [
          answer.status,
          answer.headers.get("x-seen"),
          await answer.text(),
        ];
        assert.deepEqual(await tell(mine), await tell(other), `${turn} ${method} ${path}`);
      }
    }
  }
});

Deno.test("what is found is kept for paths that were added alone", () => {
  const router = new KnownPaths<string>();
  router.add("GET", "/things", "all");
  router.add("GET", "/things/:id", "one");
  assert.equal(router.match("GET", "/things"), router.match("GET", "/things"));
  assert.notEqual(router.match("GET", "/things/7"), router.match("GET", "/things/7"));
  assert.notEqual(router.match("BREW", "/things"), router.match("BREW", "/things"));
});
