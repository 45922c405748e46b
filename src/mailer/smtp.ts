/** Sends messages over SMTP, a few at a time and none for longer than a bound. */
import { createTransport } from "nodemailer";
import { turns } from "../access/turns.ts";
import type { Mail, Mailer } from "../mailer.ts";
import { Undelivered } from "./undelivered.ts";

export type SmtpOptions = {
  /** `smtps://user:password@host`, or `smtp://` for a server that offers STARTTLS. */
  url: string;
  /** `no-reply@example.com` or `Switchboard <no-reply@example.com>`. */
  from: string;
  /** A server without TLS will do: for development alone. */
  allowPlain: boolean;
  /** How long one message may take from the first packet to the last. */
  timeoutMs?: number;
  /** Who signed the server's certificate, when it is nobody the world knows. */
  ca?: string;
};

const TIMEOUT_MS = 30_000;

/** One address and nothing that could end it: what a mail header is made of must not be a caller's. */
const address = /^[^\s<>()[\]\\,;:"@\p{Cc}]{1,64}@[^\s<>()[\]\\,;:"@\p{Cc}]{1,255}$/u;
const oneLine = (text: string) => text.replaceAll(/[\p{Cc}\u2028\u2029]+/gu, " ").trim();

export function smtp({ url, from, allowPlain, timeoutMs = TIMEOUT_MS, ca }: SmtpOptions): Mailer {
  const server = new URL(url);
  const isSecure = server.protocol === "smtps:";
  const [user, pass] = [server.username, server.password].map(decodeURIComponent);
  const [, name = "", bare = from.trim()] = /^([^]*)<([^<>]*)>\s*$/.exec(from) ?? [];
  const transport = createTransport({
    host: server.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: Number(server.port) || (isSecure ? 465 : 587),
    secure: isSecure,
    requireTLS: !isSecure && !allowPlain,
    name: bare.split("@").at(-1) ?? "localhost",
    ...(user ? { auth: { user, pass: pass ?? "" } } : {}),
    ...(ca ? { tls: { ca } } : {}),
    connectionTimeout: timeoutMs,
    greetingTimeout: timeoutMs,
    socketTimeout: timeoutMs,
    socketCloseTimeout: 500, // A server that does not hang up holds nothing open here.
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  const queue = turns({ atOnce: 4, waiting: 1_000, retryAfterSeconds: 60 });
  return async ({ to, subject, text }: Mail) => {
    if (!address.test(to)) throw new Undelivered("the address is none", false);
    await queue.take(() =>
      transport.sendMail({
        from: { name: oneLine(name), address: bare },
        to: { name: "", address: to },
        envelope: { from: bare, to: [to] },
        subject: oneLine(subject),
        text,
        headers: { "Auto-Submitted": "auto-generated" }, // RFC 3834: no out-of-office answers.
        signal: AbortSignal.timeout(timeoutMs),
      })
    ).catch((error: unknown) => {
      throw undelivered(error);
    });
  };
}

/** A refusal for good is a reply in the five hundreds (RFC 5321, 4.2.1), or a wrong login. */
function undelivered(error: unknown): Undelivered {
  const told = (name: string): string => {
    const value: unknown = Reflect.get(Object(error), name);
    return typeof value === "string" || typeof value === "number" ? String(value) : "";
  };
  const [code, reply] = [told("code"), told("responseCode")];
  const isPassing = !/^5/.test(reply) && !["EAUTH", "ETLS", "EENVELOPE"].includes(code);
  return new Undelivered([code, reply].filter(Boolean).join(" ") || "no answer", isPassing);
}
