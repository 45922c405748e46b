/**
 * Carries values between the wire's snake_case and the schemas' camelCase, along the schema: keys of
 * free-form JSON are never touched. Every schema is compiled once into closures; a request walks no
 * schema.
 */
import { z } from "zod";
import type { FaultCode } from "../src/errors.ts";
import { faultCodes } from "../src/fault_codes.ts";
import { snake } from "../src/wire_names.ts";
import { type Style } from "./conventions.ts";
import type { Reading } from "./problems.ts";
import {
  anything,
  type Field,
  isObject,
  leaf,
  misnamed,
  same,
  scalar,
  type Wire,
} from "./wire_scalars.ts";
import { union } from "./wire_unions.ts";

type Grow = (schema: z.core.$ZodType) => Wire;

/** Compiles a schema. Throws at start, not later, when two fields would share one wire name. */
export function compile(schema: z.core.$ZodType): Wire {
  const grown = new Map<z.core.$ZodType, Wire>();
  const grow: Grow = (schema) => {
    const known = grown.get(schema);
    if (known) return known;
    // A recursive schema meets itself here before it is finished and calls through this shell.
    const shell: Wire = {
      read: (value) => built.read(value),
      readText: (text) => built.readText(text),
      write: (value, style) => built.write(value, style),
      fits: (value) => built.fits(value),
      step: (key) => built.step(key),
    };
    grown.set(schema, shell);
    const code = faultCodes.get(schema)?.code;
    const built = code ? { ...wireOf(schema, grow), code } : wireOf(schema, grow);
    grown.set(schema, built);
    return built;
  };
  return grow(schema);
}

function wireOf(schema: z.core.$ZodType, grow: Grow): Wire {
  if (schema instanceof z.ZodObject) return object(schema.shape, openEnd(schema, grow), grow);
  if (schema instanceof z.ZodArray) return list(() => grow(schema.element), grow(schema.element));
  if (schema instanceof z.ZodTuple) {
    const items = schema.def.items.map(grow);
    const rest = schema.def.rest ? grow(schema.def.rest) : anything;
    return list((index) => items[index] ?? rest);
  }
  if (schema instanceof z.ZodRecord) return record(grow(schema.valueType));
  if (schema instanceof z.ZodUnion) return union(schema, grow);
  if (schema instanceof z.ZodPipe) return pipe(schema, grow);
  if (schema instanceof z.ZodLazy) return grow(schema.unwrap());
  if (schema instanceof z.ZodIntersection) return intersection(schema, grow);
  if (hasInner(schema)) return grow(schema.def.innerType);
  return scalar(schema);
}

type Wrapper = z.core.$ZodType & { def: { innerType: z.core.$ZodType } };

/** Optional, nullable, default and their like. */
export const hasInner = (schema: z.core.$ZodType): schema is Wrapper =>
  "innerType" in schema._zod.def && schema._zod.def.innerType instanceof z.ZodType;

const openEnd = (schema: z.ZodObject, grow: Grow): Wire | null => {
  const { catchall } = schema.def;
  return catchall && !(catchall instanceof z.ZodNever) ? grow(catchall) : null;
};

function object(shape: z.core.$ZodShape, rest: Wire | null, grow: Grow): Wire {
  const fields = Object.entries(shape).map(([key, schema]): Field => ({
    key,
    name: snake(key),
    wire: grow(schema),
  }));
  const byName = new Map(fields.map((field) => [field.name, field]));
  const byKey = new Map(fields.map((field) => [field.key, field]));
  if (byName.size !== fields.length) {
    throw new Error(`Two fields share one wire name among ${[...byKey.keys()].join(", ")}`);
  }
  return {
    ...leaf,
    fields: byName,
    read: (value) => isObject(value) ? readObject(value, byName, byKey, rest) : value,
    write: (value, style) =>
      isObject(value) ? writeObject(value, fields, byKey, rest, style) : value,
    fits: (value) =>
      isObject(value) &&
      fields.every(({ key, wire }) => (value[key] ?? null) === null || wire.fits(value[key])) &&
      (rest !== null || Object.keys(value).every((key) => byKey.has(key))),
    step: (key) => byKey.get(String(key)) ?? { name: String(key), wire: rest ?? anything },
  };
}

type Fields = Map<string, Field>;

function readObject(
  value: Record<string, unknown>,
  byName: Fields,
  byKey: Fields,
  rest: Wire | null,
): unknown {
  const result: Record<string, unknown> = {};
  for (const name of Object.keys(value)) {
    const field = byName.get(name);
    if (field) result[field.key] = field.wire.read(value[name]);
    else if (byKey.has(name)) result[name + misnamed] = value[name];
    else result[name] = rest ? rest.read(value[name]) : value[name];
  }
  return result;
}

function writeObject(
  value: Record<string, unknown>,
  fields: Field[],
  byKey: Fields,
  rest: Wire | null,
  style: Style,
): unknown {
  const result: Record<string, unknown> = {};
  for (const { key, name, wire } of fields) {
    const item = value[key];
    if (item !== undefined) result[name] = wire.write === same ? item : wire.write(item, style);
  }
  if (!rest) return result;
  for (const key of Object.keys(value)) {
    if (!byKey.has(key)) result[key] = rest.write(value[key], style);
  }
  return result;
}

/** Lists and tuples; `every` is given when all items share one schema. */
function list(at: (index: number) => Wire, every?: Wire): Wire {
  const map = (value: unknown, turn: (item: unknown, index: number) => unknown) =>
    Array.isArray(value) ? value.map(turn) : value;
  return {
    ...leaf,
    read: every?.read === same ? same : (value) => map(value, (item, i) => at(i).read(item)),
    readText: (text) => [text].flat().map((item, index) => at(index).readText(item)),
    write: every?.write === same
      ? same
      : (value, style) => map(value, (item, i) => at(i).write(item, style)),
    fits: (value) => Array.isArray(value) && value.every((item, index) => at(index).fits(item)),
    step: (key) => ({ name: String(key), wire: at(Number(key)) }),
  };
}

function record(values: Wire): Wire {
  const map = (value: unknown, turn: (item: unknown) => unknown) =>
    isObject(value)
      ? Object.fromEntries(Object.entries(value).map(([key, item]) => [key, turn(item)]))
      : value;
  return {
    ...leaf,
    read: values.read === same ? same : (value) => map(value, values.read),
    write: values.write === same
      ? same
      : (value, style) => map(value, (item) => values.write(item, style)),
    fits: (value) => isObject(value) && Object.values(value).every(values.fits),
    step: (key) => ({ name: String(key), wire: values }),
  };
}

/** A transformation in front is skipped on the way in, one behind on the way out. */
function pipe(schema: z.ZodPipe, grow: Grow): Wire {
  const start = schema.in instanceof z.ZodTransform ? schema.out : schema.in;
  const { write, fits } = grow(schema.out);
  return { ...grow(start), write, fits };
}

function intersection(schema: z.ZodIntersection, grow: Grow): Wire {
  const { left, right } = schema.def;
  if (!(left instanceof z.ZodObject && right instanceof z.ZodObject)) return grow(left);
  return object({ ...left.shape, ...right.shape }, openEnd(left, grow), grow);
}

/** What lies at the end of a path below `wire`, and the wire names on the way. */
function follow(wire: Wire, path: PropertyKey[]): { names: string[]; code: FaultCode | null } {
  const names: string[] = [];
  let [at, code] = [wire, wire.code ?? null];
  for (const key of path) {
    const next = at.step(key);
    names.push(next.name);
    at = next.wire;
    code = at.code ?? code;
  }
  return { names, code };
}

/** How a surface speaks of an input's fields: REST by wire names, tRPC by the schema's own. */
export function readingOf(wire: Wire, spelling: "wire" | "schema"): Reading {
  return {
    nameOf: (path) =>
      (spelling === "wire" ? follow(wire, path).names : path.map(String)).join(".")
        .replaceAll(misnamed, ""),
    codeOf: (path) => follow(wire, path).code,
  };
}
