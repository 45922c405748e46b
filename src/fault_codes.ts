/** Which failure code a wrong field answers with, where the documents name one for it. */
import { z } from "zod";
import type { FaultCode } from "./errors.ts";

/**
 * `z.enum([…]).register(faultCodes, { code: "InvalidPlatformType" })`: a request whose wrong fields
 * all lie at or below schemas of one code answers with that code instead of `ValidationError`.
 * Register last: every further method call makes a new schema that is not in the registry.
 */
export const faultCodes = z.registry<{ code: FaultCode }>();
