/** The words inputs are made of: each bounded, each with a sentence that says what would be right. */
import { z } from "zod";

export const name = (what = "a name") =>
  z.string().normalize("NFC").trim().min(1, `Give ${what}`).max(255, "Give at most 255 characters")
    .refine((text) => !/\p{Cc}/u.test(text), "Give text without control characters");

/** Free-form JSON of a caller's own, at most 16 KiB as text. Its keys are never touched. */
export const metadata = z.record(z.string().max(255), z.unknown())
  .refine((value) => JSON.stringify(value).length <= 16_384, "Give at most 16 KiB of JSON");

const isWebAddress = (text: string) => {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, hash } = new URL(text);
  return /^https?:$/.test(protocol) && !username && !password && !hash;
};

/** http is for development; the guarded fetch refuses it elsewhere. */
export const webAddress = z.string().max(2048, "Give at most 2,048 characters")
  .refine(isWebAddress, "Give an https address, without user, password or fragment");

/** `https://graph.microsoft.com`: scheme and host, nothing behind. */
export const origin = z.string().max(255)
  .refine(
    (text) => isWebAddress(text) && new URL(text).origin === text,
    "Give scheme and host alone, like https://graph.microsoft.com",
  );

/** RFC 6749, appendix A.4: visible ASCII without quote and backslash. */
export const scope = z.string().regex(
  /^[\x21\x23-\x5b\x5d-\x7e]{1,255}$/,
  "Give one scope without spaces, 255 characters at most",
);
export const scopes = z.array(scope).max(100, "Give at most 100 scopes");

/** A moment as RFC 3339 can write it and every store keep it. */
export const moment = z.date().min(new Date("0001-01-01T00:00:00Z"), "Give a year from 1 to 9999")
  .max(new Date("9999-12-31T23:59:59.999Z"), "Give a year from 1 to 9999");
