/** The values without parts, and what every compiled schema can do. */
import { z } from "zod";
import type { FaultCode } from "../src/errors.ts";
import { parseDate, readFlag, readFlagText, type Style } from "./conventions.ts";

/** What a query or a path holds under one name. */
export type Text = string | string[];

/** One compiled schema. */
export type Wire = {
  /** From a JSON value; what does not fit is left as it is, for the schema to refuse. */
  read: (value: unknown) => unknown;
  /** From the text of a query or path. */
  readText: (text: Text) => unknown;
  /** From the schema's output to a JSON value. */
  write: (value: unknown, style: Style) => unknown;
  /** A quick look whether a value is of this kind; tells the options of a union apart. */
  fits: (value: unknown) => boolean;
  /** What lies below a key: its name on the wire and its schema. */
  step: (key: PropertyKey) => { name: string; wire: Wire };
  /** The failure code registered for this schema in `faultCodes`. */
  code?: FaultCode | undefined;
  /** An object's fields under their wire names. */
  fields?: Map<string, Field>;
};
export type Field = { key: string; name: string; wire: Wire };

/**
 * Marks a field that is not of the request although it is spelled like one of the schema's own:
 * `clientId` instead of `client_id`. No schema has the mark (a Unicode noncharacter) in a name, so it
 * refuses the field.
 */
export const misnamed = "\ufdd0";

export const same = (value: unknown): unknown => value;

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);

export const leaf: Wire = {
  read: same,
  readText: same,
  write: same,
  fits: (value) => typeof value !== "object" || value === null,
  step: (key) => ({ name: String(key), wire: anything }),
};
/** Free-form JSON. */
export const anything: Wire = { ...leaf, fits: () => true };

const isText = (value: unknown): value is string => typeof value === "string";

const date: Wire = {
  ...leaf,
  read: (value) => isText(value) ? parseDate(value) ?? value : value,
  readText: (value) => isText(value) ? parseDate(value) ?? value : value,
  write: (value, style) => value instanceof Date ? style.date(value) : value,
  fits: (value) => value instanceof Date,
};

/** A moment the schema keeps as RFC 3339 text (`z.iso.datetime()`). */
const dateText: Wire = {
  ...leaf,
  read: (value) => isText(value) ? parseDate(value)?.toISOString() ?? value : value,
  readText: (value) => isText(value) ? parseDate(value)?.toISOString() ?? value : value,
  write: (value, style) => {
    const at = isText(value) && style.name ? parseDate(value) : null;
    return at ? style.date(at) : value;
  },
};

const flag: Wire = {
  ...leaf,
  read: readFlag,
  readText: readFlagText,
  write: (value, style) => typeof value === "boolean" ? style.flag(value) : value,
  fits: (value) => typeof value === "boolean",
};

const numeral = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

const number: Wire = {
  ...leaf,
  readText: (text) => isText(text) && numeral.test(text) ? Number(text) : text,
  fits: (value) => typeof value === "number",
};

/** JSON has no big integers: they travel as decimal text, small ones may come as numbers. */
const bigint: Wire = {
  ...leaf,
  read: (value) =>
    isText(value) && /^-?\d{1,100}$/.test(value) || Number.isSafeInteger(value)
      ? BigInt(String(value))
      : value,
  readText: (text) => bigint.read(text),
  write: (value) => typeof value === "bigint" ? String(value) : value,
  fits: (value) => typeof value === "bigint",
};

/** The wire of a schema without parts; of one it does not know, values pass as they are. */
export function scalar(schema: z.core.$ZodType): Wire {
  if (schema instanceof z.ZodDate) return date;
  if (schema instanceof z.ZodBoolean) return flag;
  if (schema instanceof z.ZodISODateTime) return dateText;
  if (schema instanceof z.ZodNumber) return number;
  if (schema instanceof z.ZodBigInt) return bigint;
  if (schema instanceof z.ZodAny || schema instanceof z.ZodUnknown) return anything;
  if (schema instanceof z.ZodLiteral) return literal([...schema.values]);
  return schema instanceof z.ZodEnum ? literal(schema.options) : leaf;
}

function literal(values: unknown[]): Wire {
  const kind = values.some((value) => typeof value === "boolean")
    ? flag
    : values.some((value) => typeof value === "number")
    ? number
    : leaf;
  return { ...kind, fits: (value) => values.includes(value) };
}
