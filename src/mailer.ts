/** Messages to people: an invitation, a forgotten password. Sent after the change that caused them is committed. */
import { afterCommit, type TxCtx } from "./context.ts";
import type { Env } from "./env.ts";
import { Undelivered } from "./mailer/undelivered.ts";

export type Mail = { to: string; subject: string; text: string };
export type Mailer = (mail: Mail) => Promise<void>;

/** Sends through the mail server the environment names; what it needs for that is loaded with the first message. */
export function mailerOf(
  { SMTP_URL: url, MAIL_FROM: from, ALLOW_PRIVATE_HOSTS: allowPlain }: Pick<
    Env,
    "SMTP_URL" | "MAIL_FROM" | "ALLOW_PRIVATE_HOSTS"
  >,
): Mailer {
  if (!url || !from) return () => Promise.reject(new Undelivered("no mail server is set", false));
  let mailer: Mailer | undefined;
  return async (mail) => {
    const { smtp } = await import("./mailer/smtp.ts");
    return await (mailer ??= smtp({ url, from, allowPlain }))(mail);
  };
}

/** Before the second and the third try. */
const PAUSES_MS = [2_000, 15_000];

/** Sends a message once this transaction is committed; never if it is not. Nobody waits for it. */
export function post(ctx: TxCtx, mail: Mail): void {
  afterCommit(ctx, () => void deliver(ctx, mail));
}

/** Tries a few times. A message that cannot be sent is told to the log, without what it says. */
export async function deliver(
  { mailer, log, requestId }: Pick<TxCtx, "mailer" | "log" | "requestId">,
  mail: Mail,
  pausesMs: readonly number[] = PAUSES_MS,
): Promise<void> {
  for (let tried = 0;; tried++) {
    try {
      return await mailer(mail);
    } catch (error) {
      const { why, isPassing } = error instanceof Undelivered
        ? error
        : { why: error instanceof Error ? error.name : "unknown", isPassing: false };
      const pauseMs = pausesMs[tried];
      if (!isPassing || pauseMs === undefined) {
        return log("warn", "a message was not sent", { requestId, why, tries: tried + 1 });
      }
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }
}
