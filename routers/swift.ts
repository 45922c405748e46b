/**
 * Queries answered without tRPC's chain of steps, which copies its options at each of them: the same
 * guards in the same order, for half the time. Failures are left to who asked.
 */
import type { AnyTRPCRouter } from "@trpc/server";
import { z } from "zod";
import type { Ctx } from "../src/context.ts";
import { checkJson } from "./json.ts";
import { entriesOf } from "./procedures.ts";
import { enter, type Held } from "./trpc.ts";

/** Runs one query; the input is asked for once the caller may. Throws Fault or ZodError. */
export type Swift = (
  ctx: Held,
  getRawInput: () => unknown,
) => Promise<unknown>;

type Resolver = (options: { ctx: { held: Ctx }; input: unknown }) => unknown;
const isResolver = (value: unknown): value is Resolver => typeof value === "function";

/** Every guarded query of a router by its path. */
export function swiftQueries(router: AnyTRPCRouter): Map<string, Swift> {
  return new Map(
    entriesOf(router).flatMap(({ path, type, meta, input, output }) => {
      const procedure: unknown = Reflect.get(Object(router._def.procedures), path);
      const resolver: unknown = Reflect.get(
        Object(Reflect.get(Object(procedure), "_def")),
        "resolver",
      );
      const { permission } = meta;
      if (type !== "query" || !permission || !input || !output || !isResolver(resolver)) return [];
      const shown = shownAs(output);
      const swift: Swift = async ({ held: ctx }, getRawInput) => {
        const held = enter(ctx, permission);
        const raw = await getRawInput();
        checkJson(raw);
        return shown(await resolver({ ctx: { held }, input: input.parse(raw) }));
      };
      return [[path, swift] as const];
    }),
  );
}

/** A verb's answer as its schema shows it; what came frozen out of the cache is looked at once. */
function shownAs(output: z.ZodType): (value: unknown) => unknown {
  const seen = new WeakMap<object, unknown>();
  return (value) => {
    const isKept = typeof value === "object" && value !== null && Object.isFrozen(value);
    const known = isKept ? seen.get(value) : undefined;
    if (known !== undefined) return known;
    const { success, data, error } = output.safeParse(value);
    if (!success) throw new Error("An answer broke its own schema", { cause: error });
    if (isKept) seen.set(value, Object.freeze(data));
    return data;
  };
}
