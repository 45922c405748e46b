/** The house has three floors and imports only point down; domains know only those to their left. */
import assert from "node:assert/strict";
import { importsOf, type Source, sources } from "./sources.ts";

const floors = ["db", "src", "routers", "scripts", "tests"];
const domains = ["identity", "platforms", "teams", "telephony", "billing", "configuration"];

/** Imports that point up. Shrinks only. */
const upward: Readonly<Record<string, string>> = {
  "src/app.ts → routers": "The web application mounts the surfaces",
  "src/main.ts → routers": "The way in",
  "src/client.ts → routers": "The typed client is made of the router's type, and of nothing else",
};

/** Machinery that knows a domain. Shrinks only. */
const knowing: Readonly<Record<string, string>> = {
  "src/rounds.ts": "The list of what every process does for the domains, for whoever starts one",
};

const all = await sources(".ts");
const floorOf = (path: string) => floors.indexOf(path.split("/")[0] ?? "");
const domainOf = (path: string) => {
  const [, folder = ""] = /^src\/(\w+)\//.exec(path) ?? [];
  return domains.indexOf(folder);
};
const links = all.flatMap((source) =>
  importsOf(source).filter(({ target }) => floorOf(target) >= 0 && target.includes("/"))
    .map((link) => ({ ...link, path: source.path }))
);

Deno.test("every import points to a file that is there", () => {
  const paths = new Set(all.map(({ path }) => path));
  const lost = links.filter(({ target }) => target.endsWith(".ts") && !paths.has(target));
  assert.deepEqual(lost.map(({ path, target }) => `${path} → ${target}`), []);
  assert.ok(links.length > 200);
});

Deno.test("imports point down: db < src < routers, scripts and tests on top", () => {
  const used = new Set<string>();
  for (const { path, target } of links) {
    // Scripts and tests stand side by side on top.
    if (floorOf(target) <= floorOf(path) || floorOf(path) >= floors.indexOf("scripts")) continue;
    const label = `${path} → ${target.split("/")[0]}`;
    used.add(label);
    assert.ok(upward[label], `${path} imports ${target}: imports only point down`);
  }
  assert.deepEqual(
    Object.keys(upward).filter((label) => !used.has(label) && !label.startsWith("src/main")),
    [],
  );
});

Deno.test("src/client.ts takes nothing but types from above", () => {
  const [client] = all.filter(({ path }) => path === "src/client.ts");
  assert.ok(client);
  const above = importsOf(client).filter(({ target }) => floorOf(target) > floorOf(client.path));
  assert.ok(above.every(({ isType }) => isType), "A client must not carry the server with it");
});

Deno.test("a domain imports only what stands to its left", () => {
  for (const { path, target } of links) {
    const [from, to] = [domainOf(path), domainOf(target)];
    if (from < 0 || to <= from) continue;
    assert.fail(`${path} imports ${target}: ${domains[from]} reaches right by an event or a job`);
  }
});

Deno.test("machinery knows no domain", () => {
  for (const { path, target } of links) {
    if (!path.startsWith("src/") || domainOf(path) >= 0 || domainOf(target) < 0) continue;
    if (path === "src/app.ts" || path === "src/main.ts") continue;
    assert.ok(knowing[path], `${path} imports ${target}: machinery serves every domain alike`);
  }
});

Deno.test("no module needs itself to be loaded", () => {
  const graph = new Map(all.map((source) => [source.path, runtime(source)]));
  const done = new Set<string>();
  const visit = (path: string, way: string[]) => {
    const start = way.indexOf(path);
    if (start >= 0) assert.fail(`A circle of imports: ${[...way.slice(start), path].join(" → ")}`);
    if (done.has(path)) return;
    for (const target of graph.get(path) ?? []) visit(target, [...way, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
});

const runtime = (source: Source) =>
  importsOf(source).filter(({ isType, target }) => !isType && target.endsWith(".ts"))
    .map(({ target }) => target);

Deno.test("the embedded database stays out of what runs at the edge", () => {
  const graph = new Map(all.map((source) => [source.path, importsOf(source)]));
  const seen = new Set<string>();
  const visit = (path: string) => {
    if (seen.has(path)) return;
    seen.add(path);
    for (const { target, isType } of graph.get(path) ?? []) if (!isType) visit(target);
  };
  visit("src/main.ts");
  const heavy = [...seen].filter((name) =>
    /pglite|embedded|drizzle-kit|fast-check|oidc-provider/.test(name)
  );
  assert.deepEqual(heavy, [], "src/main.ts loads what only a laptop or a test needs");
});
