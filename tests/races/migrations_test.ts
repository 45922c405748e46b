/** The schema comes to a database once and whole, by an owner like Neon's, who is no superuser. */
import assert from "node:assert/strict";
import connect from "postgres";
import { open } from "../../db/client.ts";
import { migrate, type Migration, migrations, ownerOf } from "../../db/migrate.ts";
import { world } from "../kit.ts";
import { houseOn, ownedDatabase, until } from "../db/house.ts";
import { installed, postgres, type PostgresServer } from "../stand_ins/postgres.ts";

const majors = [18, 15].map((major) => ({
  major,
  ignore: major === 15 && installed(15) === undefined,
}));
const servers = new Map<number, PostgresServer>();

Deno.test.beforeAll(async () => {
  for (const { major, ignore } of majors) {
    if (!ignore) servers.set(major, await postgres(major === 18 ? {} : { major }));
  }
});
Deno.test.afterAll(async () => {
  for (const server of servers.values()) await server.stop();
});

const serverOf = (major: number) => {
  const server = servers.get(major);
  if (!server) throw new Error(`Postgres ${major} did not start`);
  return server;
};

async function withOwner<T>(
  ownerUrl: string,
  work: (owner: ReturnType<typeof ownerOf>) => Promise<T>,
) {
  const owner = ownerOf(ownerUrl);
  try {
    return await work(owner);
  } finally {
    await owner.close();
  }
}

async function ask(url: string, text: string) {
  const sql = connect(url, { max: 1, onnotice: () => {} });
  try {
    return (await sql.unsafe(text)).map((row) => ({ ...row }));
  } finally {
    await sql.end();
  }
}

function command(...args: string[]) {
  const env = { NO_COLOR: "1" };
  return async (MIGRATE_DATABASE_URL: string) => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", "scripts/migrate.ts", ...args],
      cwd: new URL("../../", import.meta.url),
      env: { ...env, MIGRATE_DATABASE_URL },
    }).output();
    const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
    return { code, out: out ?? "", err: err ?? "" };
  };
}

const planted = (name: string, text: string): Migration => ({ name, text, checksum: text });

for (const { major, ignore } of majors) {
  Deno.test({
    name: `migrate by a plain owner on Postgres ${major} makes what a plain login can serve`,
    ignore,
    fn: async () => {
      // Twice on one server: the second owner is not the one who made the shared roles.
      for (let round = 0; round < 2; round++) {
        await using home = await houseOn(serverOf(major));
        const [role] = await ask(
          home.ownerUrl,
          "select rolsuper, rolbypassrls from pg_roles where rolname = current_user",
        );
        assert.deepEqual(role, { rolsuper: false, rolbypassrls: false });
        const w = await world({ database: open(home.url) });
        const { admin } = await w.tenant();
        const answer = await w.request("/api/v1/auth/me", {}, admin);
        assert.equal(answer.status, 200);
        await answer.body?.cancel();
        await w.close();
        const [powers] = await ask(home.url, "select * from login_powers()");
        assert.deepEqual(Object.values(powers ?? {}), [false, false, false, false]);
      }
    },
  });

  Deno.test({
    name: `migrate on Postgres ${major} leaves nothing of a migration that fails`,
    ignore,
    fn: async () => {
      await using fresh = await ownedDatabase(serverOf(major));
      const good = planted("1.sql", "create table one (id int); -- the end");
      const bad = planted("2.sql", "create table two (id int); select 1/0; create table three ()");
      await withOwner(fresh.ownerUrl, async (owner) => {
        await assert.rejects(migrate(owner, [good, bad]), /division by zero/);
        const tables =
          "select count(*)::int as n from pg_tables where tablename in ('two','three')";
        assert.deepEqual(await ask(fresh.ownerUrl, tables), [{ n: 0 }]);
        assert.deepEqual((await owner.applied()).map(({ name }) => name), ["1.sql"]);
        const mended = planted("2.sql", "create table two (id int)");
        assert.deepEqual(await migrate(owner, [good, mended]), ["2.sql"]);
        assert.deepEqual(await migrate(owner, [good, mended]), []);
        const changed = { ...good, text: "drop table one", checksum: "other" };
        await assert.rejects(migrate(owner, [changed, mended]), /1\.sql has changed since it was/);
        assert.deepEqual(await ask(fresh.ownerUrl, "select count(*)::int as n from one"), [{
          n: 0,
        }]);
      });
    },
  });
}

Deno.test("scripts/migrate.ts run by two at once applies each file once", async () => {
  await using fresh = await ownedDatabase(serverOf(18));
  const both = await Promise.all([1, 2].map(() => command()(fresh.ownerUrl)));
  assert.deepEqual(both.map(({ code, err }) => [code, err]), [[0, ""], [0, ""]]);
  const names = (await migrations()).map(({ name }) => name);
  const said = both.flatMap(({ out }) => out.match(/(?<=applied ).*/g) ?? []);
  assert.deepEqual(said.sort(), names);
  assert.ok(both.some(({ out }) => out.includes("Nothing to do")));
  const rows = await ask(fresh.ownerUrl, "select name from schema_migrations order by name");
  assert.deepEqual(rows.map(({ name }) => name), names);
});

Deno.test("scripts/migrate.ts killed in the middle is finished by the next", async () => {
  await using fresh = await ownedDatabase(serverOf(18));
  const applied = async () =>
    (await ask(fresh.ownerUrl, "select name from schema_migrations order by name"))
      .map(({ name }) => name);
  const [names, sql] = [(await migrations()).map(({ name }) => name), connect(fresh.adminUrl)];
  // The migration that makes partitions waits for this lock: there it is killed.
  await sql.begin(async (sql) => {
    await sql`select pg_advisory_xact_lock(hashtext('switchboard.partitions'))`;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", "scripts/migrate.ts"],
      cwd: new URL("../../", import.meta.url),
      env: { MIGRATE_DATABASE_URL: fresh.ownerUrl },
      stdout: "null",
      stderr: "null",
    }).spawn();
    await until(async () => {
      const [row] = await sql`select count(*)::int as n from pg_locks
        join pg_database d on d.oid = database
        where d.datname = current_database() and locktype = 'advisory' and not granted`;
      return row?.n === 1;
    }, "a migration waits");
    child.kill("SIGKILL");
    await child.status;
  });
  const before = await applied();
  assert.deepEqual(before, names.slice(0, before.length));
  assert.ok(before.length > 0 && before.length < names.length);
  const next = await command()(fresh.ownerUrl);
  assert.deepEqual([next.code, next.err], [0, ""]);
  assert.deepEqual(await applied(), names);
  assert.match((await command()(fresh.ownerUrl)).out, /Nothing to do/);
  await sql.end();
});

Deno.test("scripts/migrate.ts says what it would do, and what is wrong, in a sentence", async () => {
  await using fresh = await ownedDatabase(serverOf(18));
  const { code, out } = await command("--dry-run")(fresh.ownerUrl);
  assert.equal(code, 0);
  assert.match(out, /would apply 0000_start\.sql/);
  const none = "select count(*)::int as n from pg_tables where schemaname = 'public'";
  assert.deepEqual(await ask(fresh.ownerUrl, none), [{ n: 0 }]);
  const unset = await command()("");
  assert.equal(unset.code, 1);
  assert.match(unset.err, /^MIGRATE_DATABASE_URL is not set\. Give the owner's address/);
  const secret = "s3cret-word";
  for (const url of [`postgres://o:${secret}@127.0.0.1:1/none`, `nonsense-${secret}`]) {
    const wrong = await command()(url);
    assert.equal(wrong.code, 1, url);
    assert.ok(!wrong.err.includes(secret), wrong.err);
    assert.ok(wrong.err.trim().split("\n").length <= 2, wrong.err);
    assert.match(wrong.err, /MIGRATE_DATABASE_URL/);
  }
});
