/** Describes the procedures' schemas to other languages: JSON Schema 2020-12 in the wire's names. */
import { z } from "zod";
import { snake } from "../src/wire_names.ts";
import { plain } from "./conventions.ts";
import { maxValues } from "./json.ts";
import { compile } from "./wire.ts";

/** A JSON Schema, or any other part of the document. */
export type Json = { [name: string]: unknown };
type Io = "input" | "output";

/** No text is longer than the body that carries it. */
const MAX_TEXT = 1024 * 1024;

/** The named schemas of one document; views name themselves by `.meta({ id: "Platform" })`. */
export type Book = {
  schemas: Map<string, Json>;
  /** The schema as an object of its own, its named parts put into `schemas`. */
  describe: (schema: z.ZodType, io: Io) => Json;
  /** A reference to the schema under the name it has, or else under `name`. */
  name: (schema: z.ZodType, io: Io, name: string) => Json;
};

export function openBook(): Book {
  const schemas = new Map<string, Json>();
  // What goes in and what comes out may differ under one name: then what goes in is `<Name>Input`.
  const keep = (name: string, schema: Json, io: Io): string => {
    const known = schemas.get(name);
    if (known === undefined || JSON.stringify(known) === JSON.stringify(schema)) {
      schemas.set(name, schema);
      return name;
    }
    if (io === "input" && !name.endsWith("Input")) return keep(`${name}Input`, schema, io);
    throw new Error(`Two different schemas are named ${name}`);
  };
  const describe = (schema: z.ZodType, io: Io): Json => {
    const { $schema: _, $defs = {}, ...json } = toJson(schema, io);
    const names = new Map(
      Object.entries($defs).map(([name, part]) => [name, keep(name, moved(part), io)]),
    );
    return moved(json, names);
  };
  const name = (schema: z.ZodType, io: Io, name: string): Json => {
    const json = describe(schema, io);
    return "$ref" in json ? json : { $ref: `#/components/schemas/${keep(name, json, io)}` };
  };
  return { schemas, describe, name };
}

/** Turns zod's references into the document's. */
const moved = (json: Json, names = new Map<string, string>()): Json =>
  JSON.parse(
    JSON.stringify(json, (key, value) => {
      const name = key === "$ref" ? /^#\/\$defs\/(.+)$/.exec(String(value))?.[1] : undefined;
      return name ? `#/components/schemas/${names.get(name) ?? name}` : value;
    }),
  );

function toJson(schema: z.ZodType, io: Io): Json & { $defs?: Record<string, Json> } {
  return z.toJSONSchema(schema, {
    io,
    unrepresentable: "any",
    override: ({ zodSchema, jsonSchema }) => {
      asOnTheWire(zodSchema, jsonSchema);
      bounded(jsonSchema);
    },
  });
}

type Schema = z.core.JSONSchema.BaseSchema;

function asOnTheWire(schema: z.core.$ZodType, json: Schema): void {
  const { type } = schema._zod.def;
  if (type === "date") Object.assign(json, { type: "string", format: "date-time" });
  if (type === "bigint") Object.assign(json, { type: "string", pattern: "^-?\\d{1,100}$" });
  if (json.properties) json.properties = renamed(json.properties);
  if (json.required) json.required = json.required.map(snake);
  if (type === "record") {
    delete json.propertyNames;
    if (JSON.stringify(json.additionalProperties) === "{}") json.additionalProperties = true;
  }
  if (typeof json.default === "object" && json.default !== null) {
    json.default = written(schema, json.default);
  }
  if (json.examples) json.examples = json.examples.map((example) => written(schema, example));
}

const renamed = <T>(properties: Record<string, T>): Record<string, T> =>
  Object.fromEntries(Object.entries(properties).map(([key, value]) => [snake(key), value]));

const written = (schema: z.core.$ZodType, value: z.core.JSONSchema._JSONSchema | unknown) =>
  JSON.parse(JSON.stringify(compile(schema).write(value, plain)));

/** Formats that say all that zod's pattern for them says. */
const telling = new Set(["uuid", "date-time", "email", "uri"]);

/** Gives every text, list and whole number the bound it has anyway, and a form. */
function bounded(json: Schema): void {
  if (json.format && telling.has(json.format)) delete json.pattern;
  const isFixed = json.enum !== undefined || json.const !== undefined;
  if (json.type === "string" && !isFixed) {
    json.maxLength ??= json.format === "uuid" ? 36 : json.format === "date-time" ? 35 : MAX_TEXT;
    if (!json.format && !json.pattern) json.pattern = "^[^\\u0000]*$";
  }
  if (json.type === "array") json.maxItems ??= maxValues;
  if (json.type === "integer") {
    json.format ??=
      (json.maximum ?? Infinity) < 2 ** 31 && (json.minimum ?? -Infinity) >= -(2 ** 31)
        ? "int32"
        : "int64";
  }
}
