/** The document other people generate clients from: it must be sound as it is served. */
import assert from "node:assert/strict";
import { openApi } from "../../routers/about.ts";
import { lint } from "./lint.ts";

/**
 * What is not an API for tenants: no credentials are asked for and nothing is counted, or the answer
 * is the provider's own. Spectral's rules for authenticated, limited operations do not fit these.
 */
const notOurs: Record<string, string> = {
  "/health": "For probes: asks for nothing, is counted by nobody",
  "/ready": "For probes: asks for nothing, is counted by nobody",
  "/.well-known/jwks.json": "Public keys, cached by everyone",
  "/api/v1/oauth/callback": "A browser comes here from the provider, without credentials of ours",
  "/api/v1/bindings/{id}/proxy/{host}/{path}": "Answers are the provider's, whatever they are",
};
const forAuthenticated = [
  "owasp:api8:2023-define-error-responses-401",
  "owasp:api8:2023-define-error-validation",
  "owasp:api4:2023-rate-limit",
];

Deno.test("the OpenAPI document lints clean with Spectral's and OWASP's rules", async () => {
  const findings = (await lint(openApi("https://api.switchboard.dev"))).filter((finding) => {
    const rule = forAuthenticated.find((rule) => finding.startsWith(rule));
    return !(rule && Object.keys(notOurs).some((path) => finding.includes(` paths/${path}/`)));
  });
  assert.deepEqual(findings, []);
});
