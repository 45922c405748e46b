/** One good call of each procedure of single sign-on. */
import type { Make } from "./shape.ts";

export const sso: Record<string, Make> = {};
