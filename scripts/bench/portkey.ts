/** The gateway ours is measured against: Portkey's, installed into a folder that is then removed. */
import { freePort } from "../../tests/stand_ins/processes.ts";
import type { Server } from "./stage.ts";

const parts = {
  private: true,
  dependencies: { "@portkey-ai/gateway": "1.15.2" },
  // Pinned, so that every run measures the same.
  overrides: { "@hono/node-server": "1.13.5", "hono": "4.9.7", "@hono/node-ws": "1.2.0" },
};

async function installed(): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "switchboard-portkey-" });
  await Deno.writeTextFile(`${folder}/package.json`, JSON.stringify(parts));
  const { success, stderr } = await new Deno.Command("npm", {
    args: ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"],
    cwd: folder,
  }).output();
  if (!success) throw new Error(`npm failed: ${new TextDecoder().decode(stderr)}`);
  return folder;
}

export async function portkey(): Promise<Server> {
  const folder = await installed();
  const port = freePort();
  const began = performance.now();
  const child = new Deno.Command("node", {
    args: [
      "node_modules/@portkey-ai/gateway/build/start-server.js",
      "--headless",
      `--port=${port}`,
    ],
    cwd: folder,
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  const stop = async () => {
    child.kill("SIGKILL");
    await child.status;
    await Deno.remove(folder, { recursive: true });
  };
  for (let tries = 0; tries < 1_000; tries++) {
    const answer = await fetch(`http://127.0.0.1:${port}/`).catch(() => null);
    await answer?.body?.cancel();
    if (answer?.ok) return { port, pid: child.pid, startMs: performance.now() - began, stop };
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await stop();
  throw new Error("Portkey's gateway did not start: its own words stand above");
}
