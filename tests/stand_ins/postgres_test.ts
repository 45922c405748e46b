/** The Postgres stand-in is a real server, of the version asked for, and leaves nothing behind. */
import assert from "node:assert/strict";
import connect from "postgres";
import { until } from "../db/house.ts";
import { freshDatabase, installed, postgres, type PostgresServer } from "./postgres.ts";

async function checkServer(server: PostgresServer, major: number | undefined) {
  if (major !== undefined) assert.equal(server.major, major);
  await using database = await freshDatabase(server);
  const owner = connect(database.ownerUrl, { max: 1 });
  try {
    const [role] = await owner`
      select rolsuper, rolcreaterole, current_database() as name, lower('Ü') as lowered
      from pg_roles where rolname = current_user`;
    assert.deepEqual({ ...role }, {
      rolsuper: false,
      rolcreaterole: true,
      name: database.name,
      lowered: "ü",
    });
    await owner`create table notes (words text)`;
    const service = `${database.name}_service`;
    await owner.unsafe(`create role ${service} login password 'open'`);
    await owner.unsafe(`grant select on notes to ${service}`);
    const guest = connect(database.urlAs(service, "open"), { max: 1 });
    assert.deepEqual([...await guest`select * from notes`], []);
    await assert.rejects(guest`insert into notes values ('x')`, { code: "42501" });
    await guest.end();
    await assert.rejects(connect(database.urlAs(service, "wrong"), { max: 1 })`select 1`, {
      code: "28P01",
    });
  } finally {
    await owner.end();
  }
}

Deno.test("postgres starts a real server whose databases have an owner that is no superuser", async () => {
  await using server = await postgres();
  await checkServer(server, Deno.env.get("TEST_DATABASE_URL") ? undefined : 18);
});

Deno.test({
  name: "postgres starts an installed older version when asked for its number",
  ignore: installed(15) === undefined,
  fn: async () => {
    await using server = await postgres({ major: 15 });
    await checkServer(server, 15);
  },
});

Deno.test("postgres refuses a version that is not installed", async () => {
  await assert.rejects(postgres({ major: 3 }), /Postgres 3 is not installed/);
});

Deno.test("postgres removes its folder and its processes when the test process is killed", async () => {
  const module = import.meta.resolve("./postgres.ts");
  const script = `import { postgres } from "${module}";
    console.log((await postgres()).url);
    await new Promise((resolve) => setTimeout(resolve, 60_000));`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--ext=ts", script],
    cwd: new URL("../..", import.meta.url),
    env: { TEST_DATABASE_URL: "" },
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const url = (await reader.read()).value?.trim() ?? "";
  const { port } = new URL(url);
  const reach = () => Deno.connect({ hostname: "127.0.0.1", port: Number(port) });
  (await reach()).close();
  child.kill("SIGKILL");
  await child.status;
  await reader.cancel();
  const isGone = async () => {
    const connection = await reach().catch(() => undefined);
    connection?.close();
    return !connection;
  };
  await until(isGone, "the server ends with the process that started it");
});
