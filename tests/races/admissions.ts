/** What asks to be let in, and what came of it, as the races need them. */
import type { Asked } from "../../src/teams/admission.ts";
import { MODEL } from "./team_house.ts";

export const asked = (teamId: string, more: Partial<Asked> = {}): Asked => ({
  teamId,
  apiKeyId: null,
  sessionId: null,
  userId: null,
  endpoint: "chat.completions",
  model: MODEL,
  inputTokens: 10,
  leaseSeconds: 60,
  ...more,
});
export const answered = {
  model: MODEL,
  outcome: "answered" as const,
  status: 200,
  attempts: 1,
  inputTokens: 5,
  outputTokens: 7,
  source: "provider" as const,
  latencyMs: 3,
  firstByteMs: 2,
  isStreamed: false,
};
