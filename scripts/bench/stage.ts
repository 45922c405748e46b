/** What the benchmarks run against: a real Postgres, the service as it ships, and the bare baseline. */
import { open } from "../../db/client.ts";
import { migrate, ownerOf } from "../../db/migrate.ts";
import { asSystem, type Principal } from "../../src/context.ts";
import { readEnv } from "../../src/env.ts";
import * as tenants from "../../src/identity/tenants.ts";
import * as users from "../../src/identity/users.ts";
import { systemRoles } from "../../src/access/roles.ts";
import { newKek } from "../../src/secrets/keyring.ts";
import { services } from "../../src/services.ts";
import { ROOT_TENANT } from "../../src/topics.ts";
import { freshDatabase, postgres } from "../../tests/stand_ins/postgres.ts";
import { freePort } from "../../tests/stand_ins/processes.ts";
import { newSigningKey } from "../laptop.ts";
import { serving } from "../serving.ts";

export type Server = { port: number; pid: number; startMs: number; stop(): Promise<void> };

/** The service, as it ships. */
export const serveOurs = (env: Record<string, string>) =>
  serve(new URL("../../src/main.ts", import.meta.url).pathname, env, serving);

/** Starts a module that is served and waits for its first answer. */
export async function serve(
  module: string,
  env: Record<string, string> = {},
  how: readonly string[] = ["serve", "-A"],
): Promise<Server> {
  const port = freePort();
  const began = performance.now();
  const child = new Deno.Command(Deno.execPath(), {
    args: [...how, "--no-prompt", "--host=127.0.0.1", `--port=${port}`, module],
    env,
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  for (let tries = 0; tries < 3_000; tries++) {
    try {
      const answer = await fetch(`http://127.0.0.1:${port}/health`);
      await answer.body?.cancel();
      break;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
  const stop = async () => {
    child.kill("SIGKILL");
    await child.status;
  };
  return { port, pid: child.pid, startMs: performance.now() - began, stop };
}

/** A migrated database with one tenant and its admin, and the variables to serve it. */
export async function stage() {
  const server = await postgres();
  const database = await freshDatabase(server);
  const owner = ownerOf(database.ownerUrl);
  await migrate(owner);
  const login = `${database.name}_app`;
  await owner.run(`create role ${login} login password 'app' in role switchboard_service`);
  await owner.close();
  const env = {
    DATABASE_URL: database.urlAs(login, "app"),
    PUBLIC_URL: "http://127.0.0.1",
    SIGNING_KEYS: JSON.stringify([await newSigningKey("current")]),
    ENCRYPTION_KEYS: newKek("k1"),
    LOG_LEVEL: "warn",
    REQUESTS_PER_MINUTE: "1000000",
    TENANT_REQUESTS_PER_MINUTE: "10000000",
  };
  const opened = open(env.DATABASE_URL);
  const process = await services({ env: readEnv(env), database: opened });
  const root = () => asSystem(process, ROOT_TENANT);
  await tenants.foundRoot(root(), "Switchboard");
  const { id: tenantId } = await tenants.create(root(), { name: "Harbour Bakery" });
  const user = await users.create(asSystem(process, tenantId), {
    email: "ada@harbour-bakery.example",
    displayName: "Ada Okafor",
    systemRole: "admin",
  });
  const admin: Principal = {
    actor: { type: "user", tenantId, id: user.id },
    tenantId,
    userId: user.id,
    sessionId: null,
    grants: systemRoles.admin ?? {},
  };
  const asOwner = async (text: string) => {
    const owner = ownerOf(database.ownerUrl);
    await owner.run(text).finally(owner.close);
  };
  const stop = async () => {
    await opened.close();
    await database.drop();
    await server.stop();
  };
  return { env, process, tenantId, admin, root, asOwner, stop };
}
export type Stage = Awaited<ReturnType<typeof stage>>;
