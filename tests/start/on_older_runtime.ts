/** The service on a Deno before 2.9. */
import "./older_runtime.ts";

export { default } from "../../src/main.ts";
