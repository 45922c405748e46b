/**
 * Passwords: argon2id with OWASP's parameters (19 MiB, 2 passes, 1 lane), checked at the same cost
 * for a stranger.
 */
import { argon2id, argon2Verify } from "hash-wasm";
import { turns } from "./turns.ts";

/** Memory in KiB. Raised when OWASP raises it: who signs in then is hashed anew. */
export const COST = { memorySize: 19_456, iterations: 2, parallelism: 1, hashLength: 32 } as const;

/**
 * Memory is the process's, so this is too. A check holds the one thread for its 60 ms: two at once
 * would end no sooner and take twice the memory. A hundred who wait are served within 6 s.
 */
const bench = turns({ atOnce: 1, waiting: 100, retryAfterSeconds: 5 });

/** Composed and decomposed letters are one password, whichever a keyboard sends. */
const plain = (password: string) => password.normalize("NFKC");

const hash = (password: string) =>
  argon2id({
    ...COST,
    password: plain(password),
    salt: crypto.getRandomValues(new Uint8Array(16)),
    outputType: "encoded",
  });

/** Throws Unavailable when too many wait, as `passwordFits` does. */
export const hashPassword = (password: string): Promise<string> => bench.take(() => hash(password));

/** Whether a hash was made at a lower cost than today's. */
export function isOutdated(stored: string | null): boolean {
  const [, memory, passes] = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=\d+\$/.exec(stored ?? "") ?? [];
  return Number(memory) * Number(passes) < COST.memorySize * COST.iterations;
}

let nobodys: Promise<string> | undefined; // One hash that fits no password, made when first needed.

/** False for an unknown user too, after the same work; false for what is no hash. */
export function passwordFits(password: string, stored: string | null): Promise<boolean> {
  const isHash = stored?.startsWith("$argon2id$") === true;
  return bench.take(async () => {
    const nobody = await (nobodys ??= hash(crypto.randomUUID()));
    const fits = await argon2Verify({
      password: plain(password),
      hash: isHash ? stored : nobody,
    }).catch(() => false);
    return fits && isHash;
  });
}
