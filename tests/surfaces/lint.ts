/** Has Spectral read an OpenAPI document. */
/** Rules we do not follow, and why. A line may go, none may come without a reason. */
export const exceptions: Record<string, string> = {
  "owasp:api8:2023-define-cors-origin":
    "Which origins may read answers is the operator's setting, not a property of an operation",
  "owasp:api5:2023-admin-security-unique":
    "A document's path says admin; whoever has the permission may, at that path as at ours",
  "owasp:api2:2023-write-restricted":
    "Open procedures (sign-in and the like) stand in the access test's list, each with its reason",
};

type Finding = { code: string | number; path: (string | number)[]; message: string };

const folder = new URL("./spectral/", import.meta.url);

/** What the rules object to, as `rule at path: message`. */
export async function lint(document: unknown): Promise<string[]> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--frozen", "--config", "deno.json", "main.ts"],
    cwd: folder,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const input = new Blob([JSON.stringify(document)]).stream().pipeTo(child.stdin);
  const { code, stdout, stderr } = await child.output();
  await input;
  if (code !== 0) throw new Error(`Spectral failed: ${new TextDecoder().decode(stderr)}`);
  const findings: Finding[] = JSON.parse(new TextDecoder().decode(stdout));
  return findings
    .filter(({ code }) => !(String(code) in exceptions))
    .map(({ code, path, message }) => `${code} at ${path.join("/")}: ${message}`);
}
