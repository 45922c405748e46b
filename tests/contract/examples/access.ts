/** One good call of each procedure of access. */
import type { Make } from "./shape.ts";

export const access: Record<string, Make> = {};
