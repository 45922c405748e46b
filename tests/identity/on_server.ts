/** A real Postgres for homes to stand on, where many act at once, and a way to ask it past every policy. */
import { sql as statement } from "drizzle-orm";
import { open } from "../../db/client.ts";
import { house } from "../db/house.ts";
import type { Ground } from "./house.ts";

export async function onServer() {
  const server = await house();
  const admin = open(server.adminUrl, { poolSize: 2 });
  const sql: Ground["sql"] = (text, params = []) =>
    admin.query(statement.join(
      text.split(/\$(\d+)/).map((part, i) =>
        i % 2 ? statement`${params[Number(part) - 1]}` : statement.raw(part)
      ),
    ));
  return {
    ...server,
    /** What a process of so many connections stands on; whoever builds on it closes its database. */
    ground: (poolSize = 20): Ground => ({ database: open(server.url, { poolSize }), sql }),
    close: async () => {
      await admin.close();
      await server[Symbol.asyncDispose]();
    },
  };
}
export type Server = Awaited<ReturnType<typeof onServer>>;
