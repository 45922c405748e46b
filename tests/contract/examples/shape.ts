/** What an example is, and words no other example uses. */
import type { Principal } from "../../../src/context.ts";
import type { House, Side } from "../house.ts";

/** A call that works: its input, who makes it when not the side's boss, what must stay secret. */
export type Example = { input: unknown; as?: Principal; secrets?: string[] };
export type Make = (house: House, side: Side) => Promise<Example> | Example;

export const fresh = () => crypto.randomUUID().slice(0, 8);
export const secret = () => `s3cret-${crypto.randomUUID()}`;
export const nothing = () => ({ input: {} });
