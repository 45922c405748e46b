/** Says of an answer to an attack whether anything of ours was in it. */
import type { Attack } from "./attacks.ts";
import type { Call } from "./doors.ts";

const uuid = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/gi;

export type Ours = { ids: ReadonlySet<string>; secrets: readonly string[] };
export type Answer = { status: number; headers: string; body: string };

export async function answerOf(response: Response): Promise<Answer> {
  const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
  return { status: response.status, headers, body: await response.text() };
}

const idsIn = (text: string) => new Set((text.match(uuid) ?? []).map((id) => id.toLowerCase()));
const textOf = ({ url, init }: Call) =>
  `${url} ${init.body ?? ""} ${JSON.stringify(Object.fromEntries(new Headers(init.headers)))}`;

/** The parts of an answer that may differ between two refusals: ids and moments. */
const shape = ({ status, body }: Answer) =>
  `${status} ${body.replaceAll(uuid, "<id>").replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "<at>")}`;

/** What is wrong with the answer, in words; null when nothing is. */
export function breach(attack: Attack, answer: Answer, ours: Ours, twin?: Answer): string | null {
  const said = `${answer.headers}\n${answer.body}`;
  const secret = ours.secrets.find((text) => said.includes(text));
  if (secret) return `shows ${secret}`;
  if (answer.status >= 500) return `answers ${answer.status}: ${answer.body.slice(0, 200)}`;
  const sent = answer.status < 400 ? new Set<string>() : idsIn(textOf(attack.call));
  const shown = [...idsIn(said)].find((id) => ours.ids.has(id) && !sent.has(id));
  if (shown) return `answers ${answer.status} and shows our ${shown}: ${answer.body.slice(0, 200)}`;
  if (attack.isForged && answer.status !== 401 && answer.status !== 404 && answer.status !== 405) {
    return `answers ${answer.status} to a forged credential`;
  }
  if (twin && shape(twin) !== shape(answer)) {
    return `tells our id (${shape(answer).slice(0, 200)}) from nobody's (${
      shape(twin).slice(0, 200)
    })`;
  }
  return null;
}
