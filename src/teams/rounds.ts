/** What every process does again and again for teams. */
import type { Round } from "../jobs.ts";
import { settleExpired } from "./admission.ts";
import { chatsAtRest, workDue } from "./channels/desks.ts";

export const rounds: readonly Round[] = [
  { name: "leases", everyMs: 15_000, work: settleExpired },
  { name: "channels", everyMs: 2_000, work: workDue, rest: chatsAtRest },
];
