/** Brings a Postgres to this version's schema, as its owner. */
import { migrate, type Migration, migrations, ownerOf } from "../db/migrate.ts";
import { databaseFailure } from "../src/start_failures.ts";

const help = `deno task db:migrate [--dry-run]

Applies the migrations that are missing to the database MIGRATE_DATABASE_URL names, logged in as its
owner. --dry-run only names them. Each is applied whole or not at all; run it again after a failure.`;

async function main() {
  const url = Deno.env.get("MIGRATE_DATABASE_URL") ?? "";
  if (!URL.canParse(url) || !/^postgres(ql)?:/.test(url)) {
    throw new Error(
      `MIGRATE_DATABASE_URL is not ${url === "" ? "set" : "right"}. ` +
        "Give the owner's address, postgres://owner:password@host/database",
    );
  }
  const owner = ownerOf(url);
  try {
    const all = await migrations();
    if (Deno.args.includes("--dry-run")) {
      const applied = await owner.applied().catch(() => []);
      const known = new Set(applied.map(({ name }) => name));
      say(all.filter(({ name }) => !known.has(name)), "would apply");
    } else {
      const done = new Set(await migrate(owner, all));
      say(all.filter(({ name }) => done.has(name)), "applied");
    }
  } finally {
    await owner.close();
  }
}

function say(list: Migration[], what: string) {
  for (const { name } of list) console.log(`${what} ${name}`);
  if (list.length === 0) console.log("Nothing to do: the schema is this version's.");
}

if (Deno.args.includes("--help")) console.log(help);
else {
  await main().catch((error: unknown) => {
    const variable = "MIGRATE_DATABASE_URL";
    const sentence = databaseFailure(error, variable, Deno.env.get(variable));
    console.error(sentence ?? (error instanceof Error ? error.message : error));
    Deno.exit(1);
  });
}
