/** The service as `deno task serve` starts it: what stands between `deno` and the module. */
import project from "../deno.json" with { type: "json" };

export const serving = project.tasks.serve.command.replaceAll("'", "").split(" ").slice(1, -1);
