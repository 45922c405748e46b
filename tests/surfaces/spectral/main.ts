/**
 * Reads an OpenAPI document from standard input with Spectral: its own rules for OpenAPI and OWASP's
 * for safe APIs. A project of its own, because Spectral brings two hundred packages that nobody who
 * only runs the service should wait for.
 */
import core, { type RulesetDefinition } from "@stoplight/spectral-core";
import owasp from "@stoplight/spectral-owasp-ruleset";
import parsers from "@stoplight/spectral-parsers";
import rulesets from "@stoplight/spectral-rulesets";

// The packages' types disagree with each other about what a ruleset is; they agree when they run.
const isRuleset = (value: unknown): value is RulesetDefinition =>
  typeof value === "object" && value !== null && "rules" in value;

const spectral = new core.Spectral();
const [ours, safe]: unknown[] = [rulesets.oas, owasp];
if (!isRuleset(ours) || !isRuleset(safe)) throw new Error("Spectral has changed its rulesets");
spectral.setRuleset({ extends: [[ours, "all"], [safe, "all"]] });
const text = await new Response(Deno.stdin.readable).text();
const findings = await spectral.run(new core.Document(text, parsers.Json, "/openapi.json"));
console.log(JSON.stringify(findings.map(({ code, path, message }) => ({ code, path, message }))));
