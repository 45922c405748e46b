/** Brings a database to the schema of this code: each file of `migrations` once, in order, whole or not at all. */
import postgres from "postgres";

/** What migrating needs of a driver: run many statements at once, and say what is applied. */
export type Migratable = {
  run(text: string): Promise<void>;
  applied(): Promise<{ name: string; checksum: string }[]>;
};

export type Migration = { name: string; text: string; checksum: string };

/** The migrations beside this file, in order. */
export async function migrations(): Promise<Migration[]> {
  const folder = new URL("./migrations/", import.meta.url);
  const names: string[] = [];
  for await (const { name } of Deno.readDir(folder)) if (name.endsWith(".sql")) names.push(name);
  return await Promise.all(
    names.sort().map(async (name) => {
      const text = await Deno.readTextFile(new URL(name, folder));
      const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
      return { name, text, checksum: new Uint8Array(hash).toHex() };
    }),
  );
}

/** Applies what is missing and answers its names. A file that changed after it was applied is refused. */
export async function migrate(database: Migratable, all?: Migration[]): Promise<string[]> {
  const files = all ?? await migrations();
  // Another migration at the same moment waits here until this one is through.
  await database.run(`
    select pg_advisory_lock(hashtext('switchboard.migrations'));
    create table if not exists schema_migrations (
      name text primary key, checksum text not null, applied_at timestamptz not null default now()
    );
    do $$ begin
      if exists (select from pg_roles where rolname = 'switchboard_service') then
        grant select on schema_migrations to switchboard_service;
      end if;
    end $$;`);
  const done: string[] = [];
  try {
    const applied = new Map((await database.applied()).map((m) => [m.name, m.checksum]));
    for (const { name, text, checksum } of files) {
      const before = applied.get(name);
      if (before === checksum) continue;
      if (before) {
        throw new Error(`${name} has changed since it was applied: write a new migration`);
      }
      await database.run(
        `begin; ${text}\n; insert into schema_migrations (name, checksum) values ('${name}', '${checksum}'); commit;`,
      ).catch(async (error) => {
        await database.run("rollback");
        throw error;
      });
      done.push(name);
    }
  } finally {
    await database.run("select pg_advisory_unlock(hashtext('switchboard.migrations'))");
  }
  return done;
}

/** The owner's connection: `MIGRATE_DATABASE_URL`. One session, since the lock is the session's. */
export function ownerOf(url: string): Migratable & { close(): Promise<void> } {
  const client = postgres(url, { max: 1, connect_timeout: 10, onnotice: () => {} });
  return {
    run: async (text) => {
      await client.unsafe(text).simple();
    },
    applied: async () => [
      ...await client<{ name: string; checksum: string }[]>`
        select name, checksum from schema_migrations`,
    ],
    close: () => client.end({ timeout: 5 }),
  };
}
