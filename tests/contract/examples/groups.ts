/** One good call of each procedure of groups and roles. */
import type { Make } from "./shape.ts";

export const groups: Record<string, Make> = {};
