/** The words a team is described with, each bounded as S3 bounds it. */
import { z } from "zod";
import { platformTypes } from "../../db/schema/teams.ts";
import { name } from "../words.ts";

const MOST_MODELS = 200;

/** A model as clients and providers name it: `openai/gpt-4`. */
export const modelName = z.string().trim()
  .regex(/^[\x21-\x7e]{1,255}$/, "Give a model's name without spaces, like openai/gpt-4");
export const modelList = z.array(modelName).min(1, "Give at least one model")
  .max(MOST_MODELS, `Give at most ${MOST_MODELS} models`)
  .transform((models) => [...new Set(models)]);
const count = z.int("Give a whole number");

export const words = {
  platformName: name("the name channels address the team by"),
  displayName: name("a name to show"),
  platformType: z.enum(platformTypes, "Give public or private"),
  quota: count.min(0, "Give 0 or more requests").max(2_147_483_647, "Give a smaller number"),
  rateLimit: count.min(1, "Give 1 to 1000 requests a minute")
    .max(1000, "Give 1 to 1000 requests a minute"),
  maxHistory: count.min(1, "Give 1 to 100 messages").max(100, "Give 1 to 100 messages"),
  allowModelSwitch: z.boolean(),
};

export const commands = ["start", "help", "status", "clear", "model", "models"] as const;
export type Command = typeof commands[number];

/** A day of a calendar, as years of four digits can be compared and stored. */
export const usageDay = z.iso.date("Give a day, like 2026-01-31").max(10)
  .refine((day) => day >= "1970-01-01", "Give a day from 1970 on");
/** A platform names its users as it likes. */
export const usageUser = z.string().max(1_024, "Give at most 1,024 characters");
