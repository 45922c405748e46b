/**
 * Passwords: argon2id with OWASP's parameters (19 MiB, 2 passes, 1 lane), checked at the same cost
 * for a stranger.
 */
import { argon2id, argon2Verify, type Cost, costOf } from "./argon2.ts";
import { turns } from "./turns.ts";

/** Raised when OWASP raises it: who signs in then is hashed anew. */
export const COST: Cost = { memory: 19_456, passes: 2, parallelism: 1 };

/**
 * Memory is the process's, so this is too. A check takes a core for its 60 ms, and others have to be
 * served beside it. A hundred who wait are served within 6 s.
 */
const bench = turns({ atOnce: 1, waiting: 100, retryAfterSeconds: 5 });

/** Composed and decomposed letters are one password, whichever a keyboard sends. */
const plain = (password: string) => password.normalize("NFKC");

const hash = (password: string) => argon2id(plain(password), COST);

/** Throws Unavailable when too many wait, as `passwordFits` does. */
export const hashPassword = (password: string): Promise<string> => bench.take(() => hash(password));

/** Whether a hash was made at a lower cost than today's. */
export function isOutdated(stored: string | null): boolean {
  const cost = stored === null ? null : costOf(stored);
  return cost !== null && cost.memory * cost.passes < COST.memory * COST.passes;
}

let nobodys: Promise<string> | undefined; // One hash that fits no password, made when first needed.
const nobody = () =>
  nobodys ??= hash(crypto.randomUUID()).catch((error) => {
    nobodys = undefined; // Or nobody could sign in until the process ends.
    throw error;
  });

/** False for an unknown user too, after the same work; false for what is no hash. */
export function passwordFits(password: string, stored: string | null): Promise<boolean> {
  const made = stored !== null && costOf(stored) ? stored : null;
  return bench.take(async () => {
    const stranger = await nobody();
    const fits = await argon2Verify(plain(password), made ?? stranger).catch(() => false);
    return fits && made !== null;
  });
}
