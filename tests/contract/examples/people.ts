/** One good call of each procedure of people. */
import type { Make } from "./shape.ts";

export const people: Record<string, Make> = {};
