/** Passwords: argon2id with OWASP's parameters (19 MiB, 2 passes, 1 lane), checked at the same cost for a stranger. */
import { argon2id, argon2Verify } from "hash-wasm";

const COST = { memorySize: 19_456, iterations: 2, parallelism: 1, hashLength: 32 } as const;

export const hashPassword = (password: string): Promise<string> =>
  argon2id({
    ...COST,
    password: password.normalize("NFKC"),
    salt: crypto.getRandomValues(new Uint8Array(16)),
    outputType: "encoded",
  });

let nobodys: Promise<string> | undefined; // One hash that fits no password, made when first needed.

/** False for an unknown user too, after the same work. */
export async function passwordFits(password: string, hash: string | null): Promise<boolean> {
  nobodys ??= hashPassword(crypto.randomUUID());
  const fits = await argon2Verify({
    password: password.normalize("NFKC"),
    hash: hash ?? await nobodys,
  });
  return fits && hash !== null;
}
