/** One good call of each procedure of tenants and domains. */
import type { Make } from "./shape.ts";

export const tenants: Record<string, Make> = {};
