/** Every variable this service reads, each checked at the start with a sentence that says how to set it. */
import { z } from "zod";
import type { SigningKey } from "./access/tokens.ts";
import { KeyringError, readKeks } from "./secrets/keyring.ts";

const whole = (least: number, most: number) =>
  z.string().regex(/^\d+$/, "Give a whole number").transform(Number)
    .refine((n) => n >= least && n <= most, `Give a number from ${least} to ${most}`);
const yes = z.enum(["0", "1"], "Give 1 or 0").default("0").transform((value) => value === "1");
const address = (what: RegExp, sentence: string) =>
  z.string({ error: sentence }).refine((text) => URL.canParse(text) && what.test(text), sentence);
const base64url = z.string().regex(/^[A-Za-z0-9_-]{43}$/);

export const SigningKeys = z.array(z.strictObject({
  kid: z.string().min(1).max(64),
  state: z.enum(["current", "next", "old"]),
  x: base64url,
  d: base64url,
  since: z.iso.datetime().optional(),
})).min(1).max(8);

const HOW_TO_SIGN = 'Make one with "deno task keys signing add" and set what it prints: ' +
  "a JSON list of Ed25519 keys, exactly one of them current";

const signingKeys = z.string({ error: HOW_TO_SIGN }).transform((text, issue): SigningKey[] => {
  try {
    const keys = SigningKeys.parse(JSON.parse(text));
    if (keys.filter(({ state }) => state === "current").length === 1) return keys;
  } catch { /* The sentence below says what is right; the text itself is a secret. */ }
  issue.addIssue({ code: "custom", message: HOW_TO_SIGN });
  return z.NEVER;
});

const pairs = [
  ["UPSTASH_REDIS_REST_URL", "UPSTASH_REDIS_REST_TOKEN", "Upstash variables"],
  ["SMTP_URL", "MAIL_FROM", "mail variables"],
] as const;

const Variables = z.object({
  DATABASE_URL: address(
    /^postgres(ql)?:\/\//,
    "Give the service role's address, postgres://user:password@host/database (not the owner's)",
  ),
  DATABASE_DRIVER: z.enum(["auto", "neon", "postgres"], "Give auto, neon or postgres")
    .default("auto"),
  DATABASE_POOL: whole(1, 200).default(10),
  DATABASE_WEBSOCKET_PROXY: z.string().optional(),
  PUBLIC_URL: address(
    /^https?:\/\/[^/]+$/,
    "Give the address clients use, without a slash at the end: https://api.example.com",
  ),
  SIGNING_KEYS: signingKeys,
  ENCRYPTION_KEYS: z.string({
    error: 'Make one with "deno task keys add" and set what it prints: k1:<32 bytes in base64>',
  }).superRefine((text, issue) => {
    try {
      readKeks(text);
    } catch (error) {
      if (!(error instanceof KeyringError)) throw error;
      const sentence = error.message.replace(/^ENCRYPTION_KEYS /, "");
      issue.addIssue({
        code: "custom",
        message: `It ${sentence}`.replace(/^It (key|entry)/, "Its $1"),
      });
    }
  }),
  UPSTASH_REDIS_REST_URL: address(/^https?:/, "Give the REST address Upstash shows: https://…")
    .optional(),
  UPSTASH_REDIS_REST_TOKEN: z.string().min(1, "Give the REST token Upstash shows").optional(),
  SMTP_URL: address(
    /^smtps?:\/\/[^/?#]+\/?$/,
    "Give the mail server's address: smtps://user:password@host, or smtp:// if it offers STARTTLS",
  ).optional(),
  MAIL_FROM: z.string().max(320).regex(
    /^([^<>\p{Cc}]*<[^\s<>@,;]+@[^\s<>@,;]+>|[^\s<>@,;]+@[^\s<>@,;]+)$/u,
    "Give the sender's address: no-reply@example.com, or Switchboard <no-reply@example.com>",
  ).optional(),
  KEY_ENVIRONMENT: z.string().regex(/^[a-z]{2,8}$/, "Give 2 to 8 small letters, like live or test")
    .default("live"),
  LOG_LEVEL: z.enum(["debug", "info", "warn", "error"], "Give debug, info, warn or error")
    .default("info"),
  REQUESTS_PER_MINUTE: whole(1, 1_000_000).default(1_200),
  TENANT_REQUESTS_PER_MINUTE: whole(1, 10_000_000).default(12_000),
  TRUST_FORWARDED_FOR: yes,
  ALLOW_PRIVATE_HOSTS: yes,
}).superRefine((env, issue) => {
  for (const [one, other, message] of pairs) {
    if ((env[one] === undefined) === (env[other] === undefined)) continue;
    issue.addIssue({
      code: "custom",
      path: [env[one] === undefined ? one : other],
      message: `Set both ${message}, or neither`,
    });
  }
});

export type Env = z.infer<typeof Variables>;

/** Every variable by its name. */
export const variableNames: readonly string[] = Object.keys(Variables.shape);

export class EnvError extends Error {
  override name = "EnvError";
}

/** The checked variables. Throws one EnvError with a sentence for each that is missing or wrong. */
export function readEnv(variables: Record<string, string | undefined>): Env {
  const set = Object.fromEntries(Object.entries(variables).filter(([, value]) => value !== ""));
  const result = Variables.safeParse(set);
  if (result.success) return result.data;
  const lines = result.error.issues.map(({ path: [name], message }) => {
    const state = set[String(name)] === undefined ? "is not set" : "is not right";
    return `  ${String(name)} ${state}. ${message}.`;
  });
  throw new EnvError(`Switchboard cannot start:\n${lines.join("\n")}`);
}
