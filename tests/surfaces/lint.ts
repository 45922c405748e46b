/** Reads an OpenAPI document with Spectral: its own rules for OpenAPI and OWASP's for safe APIs. */
import core, { type RulesetDefinition } from "@stoplight/spectral-core";
import owasp from "@stoplight/spectral-owasp-ruleset";
import parsers from "@stoplight/spectral-parsers";
import rulesets from "@stoplight/spectral-rulesets";

/** Rules we do not follow, and why. A line may go, none may come without a reason. */
export const exceptions: Record<string, string> = {
  "owasp:api8:2023-define-cors-origin":
    "Which origins may read answers is the operator's setting, not a property of an operation",
  "owasp:api2:2023-write-restricted":
    "Open procedures (sign-in and the like) stand in the access test's list, each with its reason",
};

// The packages' types disagree with each other about what a ruleset is; they agree when they run.
const isRuleset = (value: unknown): value is RulesetDefinition =>
  typeof value === "object" && value !== null && "rules" in value;

/** What the rules object to, as `rule at path: message`. */
export async function lint(document: unknown): Promise<string[]> {
  const spectral = new core.Spectral();
  const [ours, safe]: unknown[] = [rulesets.oas, owasp];
  if (!isRuleset(ours) || !isRuleset(safe)) throw new Error("Spectral has changed its rulesets");
  spectral.setRuleset({ extends: [[ours, "all"], [safe, "all"]] });
  const source = new core.Document(JSON.stringify(document), parsers.Json, "/openapi.json");
  const findings = await spectral.run(source);
  return findings
    .filter(({ code }) => !(String(code) in exceptions))
    .map(({ code, path, message }) => `${code} at ${path.join("/")}: ${message}`);
}
