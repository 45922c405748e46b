/** What a call came to, in a word: `done`, or the reason of its refusal. */
import { Fault } from "../../src/errors.ts";

function faultOf(error: unknown): Fault {
  const cause = error instanceof Error ? error.cause : null;
  if (cause instanceof Fault) return cause;
  throw error;
}

export const said = (call: Promise<unknown>): Promise<string> =>
  call.then(() => "done", (error: unknown) => faultOf(error).reason);

/** The whole refusal. Fails when there is none. */
export const refusal = (call: Promise<unknown>): Promise<Fault> =>
  call.then(() => Promise.reject(new Error("It was not refused")), faultOf);
