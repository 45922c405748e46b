/** A newcomer's first start fetches only what runs: a lock file of its own says what that is. */
import assert from "node:assert/strict";

Deno.test("runtime.lock is what the service on a laptop needs, and agrees with deno.lock", async () => {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["cache", "--lock=runtime.lock", "--frozen", "scripts/dev.ts", "scripts/demo.ts"],
  }).output();
  assert.equal(code, 0, `Run deno task lock: ${new TextDecoder().decode(stderr)}`);
  const [all, runtime] = await Promise.all(
    ["deno.lock", "runtime.lock"].map(async (file) => JSON.parse(await Deno.readTextFile(file))),
  );
  // A name ends in the peers it was resolved with, which differ with what else is installed.
  const base = (name: string) => name.split("_")[0] ?? name;
  const known = new Map(
    Object.entries<{ integrity: string }>(all.npm).map(([name, entry]) => [base(name), entry]),
  );
  for (const [name, { integrity }] of Object.entries<{ integrity: string }>(runtime.npm)) {
    assert.equal(known.get(base(name))?.integrity, integrity, `${name}: run deno task lock`);
  }
});
