/** Every procedure of a router with what REST and the OpenAPI document need to know, found out once. */
import type { AnyTRPCRouter } from "@trpc/server";
import { z } from "zod";
import type { Reading } from "./problems.ts";
import type { Meta, RestPlace } from "./trpc.ts";
import { compile, hasInner, readingOf } from "./wire.ts";
import type { Wire } from "./wire_scalars.ts";

/** One procedure as the surfaces see it. */
export type Entry = {
  /** `platforms.services.register`. */
  path: string;
  type: "query" | "mutation";
  meta: Meta;
  input: z.ZodType | null;
  output: z.ZodType | null;
};
/** One that REST serves: it has a place and both its schemas are compiled. */
export type RestEntry = Entry & {
  rest: RestPlace;
  /** Its name in the OpenAPI document: the procedure's path, or that and where else it stands. */
  operationId: string;
  output: z.ZodType;
  in: Wire | null;
  out: Wire;
};

/**
 * All procedures but subscriptions. What tRPC keeps of them is not typed, so this is the one place
 * that looks inside `_def` (tRPC 11: `procedures` is flat at run time) and checks what it finds.
 */
export function entriesOf(router: AnyTRPCRouter): Entry[] {
  const procedures: Record<string, unknown> = router._def.procedures;
  return Object.entries(procedures).flatMap(([path, procedure]) => {
    const def = memberOf(procedure, "_def");
    const type = memberOf(def, "type");
    if (type !== "query" && type !== "mutation") return [];
    const inputs = memberOf(def, "inputs");
    const [input, ...others] = Array.isArray(inputs) ? inputs : [];
    if (others.length > 0) throw new Error(`${path}: give the procedure one input schema`);
    const meta: Meta = { ...memberOf(def, "meta") as Meta | undefined };
    return [{
      path,
      type,
      meta,
      input: schemaOf(input),
      output: schemaOf(memberOf(def, "output")),
    }];
  });
}

const memberOf = (value: unknown, name: string): unknown =>
  (typeof value === "object" || typeof value === "function") && value !== null
    ? Reflect.get(value, name)
    : undefined;

const schemaOf = (value: unknown) => value instanceof z.ZodType ? value : null;

/** The procedures with a place in REST, in the order in which a path is to be looked up. */
export function restEntriesOf(router: AnyTRPCRouter): RestEntry[] {
  const entries = entriesOf(router).flatMap((entry): RestEntry[] => {
    const { rest, also } = entry.meta;
    if (!rest) return [];
    const { input, output, path } = entry;
    if (!output) throw new Error(`${path}: REST needs an output schema`);
    const compiled = { ...entry, output, in: input && compile(input), out: compile(output) };
    return [
      { ...compiled, rest, operationId: path },
      ...also ? [{ ...compiled, rest: also, operationId: `${path}.admin` }] : [],
    ];
  });
  // `/platforms/search` is looked up before `/platforms/{id}`.
  const order = (entry: RestEntry) => entry.rest.path.replaceAll(/\{[^}]*\}/g, "\uffff");
  return entries.sort((a, b) => order(a) < order(b) ? -1 : 1);
}

/** How tRPC speaks of a procedure's input: by path, for its error formatter. */
export function trpcReadings(router: AnyTRPCRouter): Map<string, Reading> {
  return new Map(
    entriesOf(router).flatMap(({ path, input }) =>
      input ? [[path, readingOf(compile(input), "schema")] as const] : []
    ),
  );
}

/** Looks through optional, nullable and their like. */
export const bare = (schema: z.core.$ZodType): z.core.$ZodType =>
  hasInner(schema) ? bare(schema.def.innerType) : schema;

/** Where an output speaks of one resource: at the top, or under one name (`{platform, success}`). */
export function subjectKey(output: z.core.$ZodType): { key: string | null } | null {
  const schema = bare(output);
  if (!(schema instanceof z.ZodObject)) return null;
  if ("id" in schema.shape) return { key: null };
  const keys = Object.keys(schema.shape).filter((key) => {
    const part = bare(schema.shape[key] ?? z.never());
    return part instanceof z.ZodObject && "id" in part.shape;
  });
  return keys.length === 1 && keys[0] !== undefined ? { key: keys[0] } : null;
}

/** The schema of the resource an answer speaks of, if its versions have tags. */
export function taggedSchema(output: z.core.$ZodType): z.core.$ZodType | null {
  const [place, schema] = [subjectKey(output), bare(output)];
  if (!place || !(schema instanceof z.ZodObject)) return null;
  const subject = place.key === null ? schema : bare(schema.shape[place.key] ?? z.never());
  return subject instanceof z.ZodObject && "updatedAt" in subject.shape ? subject : null;
}

/** The resource an answer speaks of, found where `subjectKey` said. */
export function subjectOf(
  data: unknown,
  place: { key: string | null } | null,
): { id: string; updatedAt: Date | null } | null {
  if (!place) return null;
  const subject = place.key === null ? data : memberOf(data, place.key);
  const [id, updatedAt] = [memberOf(subject, "id"), memberOf(subject, "updatedAt")];
  if (typeof id !== "string") return null;
  return { id, updatedAt: updatedAt instanceof Date ? updatedAt : null };
}
