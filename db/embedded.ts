/** Opens the embedded database a laptop uses. Never part of the edge bundle. */
import { PGlite } from "@electric-sql/pglite";
import { drizzle } from "drizzle-orm/pglite";
import { type Database, databaseOf } from "./client.ts";
import type { Migratable } from "./migrate.ts";

export type Embedded = Database & Migratable & { readonly client: PGlite };

/** A database in `folder`, or in memory. Restores `snapshot`, a dump of another, when given. */
export async function embedded(folder?: string, snapshot?: Blob): Promise<Embedded> {
  const client = await PGlite.create({
    ...(folder ? { dataDir: folder } : {}),
    ...(snapshot ? { loadDataDir: snapshot } : {}),
  });
  // PGlite logs in as superuser: every transaction puts the service's role on before it looks at anything.
  const session = drizzle({ client, casing: "snake_case" });
  const database = databaseOf((work) => work(session), {
    driver: "embedded",
    role: "switchboard_service",
    close: () => client.close(),
  });
  return {
    ...database,
    client,
    run: async (text) => {
      await client.exec(text);
    },
    applied: async () =>
      (await client.query<{ name: string; checksum: string }>(
        "select name, checksum from schema_migrations",
      )).rows,
  };
}
