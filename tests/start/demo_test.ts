/** The walk-through a newcomer is told to run: it must tell the truth, and fail when it is not so. */
import assert from "node:assert/strict";
import { narrator, NotAsSaid } from "../../scripts/narrator.ts";

Deno.test("demo walks through the main job on a fresh folder and ends well", async () => {
  const folder = await Deno.makeTempDir();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", new URL("../../scripts/demo.ts", import.meta.url).pathname],
    env: { DATA_DIR: `${folder}/data`, PORT: String(port), NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder().decode(stdout);
  assert.equal(code, 0, text + new TextDecoder().decode(stderr));
  assert.match(text, /The provider saw one refresh/);
  assert.match(text, /All as said: \d\d checks/);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("narrator ends at the first step that is not as said", () => {
  const lines: string[] = [];
  const told = narrator((line) => lines.push(line));
  told.check("Water is wet", true);
  assert.throws(() => told.check("Pigs fly", false), NotAsSaid);
  assert.match(lines.join("\n"), /✓ Water is wet[\s\S]*✗ Pigs fly/);
});
