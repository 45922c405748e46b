/** How the wire finds out which of a union's forms a value has. */
import { z } from "zod";
import { snake } from "../src/wire_names.ts";
import { anything, isObject, leaf, same, type Wire } from "./wire_scalars.ts";

type Grow = (schema: z.core.$ZodType) => Wire;
type Option = { schema: z.core.$ZodType; wire: Wire };

/** By the discriminator where the schema has one, else the first option that accepts the value. */
export function union(schema: z.ZodUnion | z.ZodDiscriminatedUnion, grow: Grow): Wire {
  const options = schema.options.map((option): Option => ({ schema: option, wire: grow(option) }));
  const base = anyOf(options);
  if (!(schema instanceof z.ZodDiscriminatedUnion)) return base;
  const key = schema.def.discriminator;
  const byValue = new Map<unknown, Wire>(
    options.flatMap(({ schema, wire }) =>
      [...(schema._zod.propValues?.[key] ?? [])].map((value) => [value, wire] as const)
    ),
  );
  const at = (value: unknown, name: string) =>
    isObject(value) ? byValue.get(value[name]) : undefined;
  return {
    ...base,
    read: (value) => at(value, snake(key))?.read(value) ?? value,
    write: (value, style) => at(value, key)?.write(value, style) ?? value,
  };
}

function anyOf(options: Option[]): Wire {
  const wires = options.map((option) => option.wire);
  const fields = new Map(wires.flatMap((wire) => [...wire.fields ?? []]).reverse());
  return {
    ...leaf,
    read: wires.every((wire) => wire.read === same)
      ? same
      : (value) => firstAccepted(options, value, (wire) => wire.read(value)),
    readText: (text) => firstAccepted(options, text, (wire) => wire.readText(text)),
    write: wires.every((wire) => wire.write === same)
      ? same
      : (value, style) => wires.find((wire) => wire.fits(value))?.write(value, style) ?? value,
    fits: (value) => wires.some((wire) => wire.fits(value)),
    step: (key) =>
      (wires.find((wire) => wire.fields?.get(snake(String(key)))?.key === key) ?? wires[0] ??
        anything).step(key),
    ...(fields.size > 0 ? { fields } : {}),
    code: wires.find((wire) => wire.code)?.code,
  };
}

function firstAccepted(options: Option[], value: unknown, turn: (wire: Wire) => unknown): unknown {
  for (const { schema, wire } of options) {
    const turned = turn(wire);
    if (z.safeParse(schema, turned).success) return turned;
  }
  // None will do: an object is turned all the same, so that the complaint can name its fields.
  const closest = isObject(value) ? options.find(({ wire }) => wire.fields) : undefined;
  return closest ? turn(closest.wire) : value;
}
