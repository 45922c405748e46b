/** The whole API: every procedure under its domain. */
import { chatRouter } from "./chat.ts";
import { identity } from "./identity.ts";
import { platforms } from "./platforms.ts";
import { trpcReadings } from "./procedures.ts";
import { teams } from "./teams.ts";
import { auditRouter, eventsRouter } from "./trail.ts";
import { readings, router } from "./trpc.ts";

export const appRouter = router({
  identity,
  platforms,
  teams,
  chat: chatRouter,
  audit: auditRouter,
  events: eventsRouter,
});
export type AppRouter = typeof appRouter;

for (const [path, reading] of trpcReadings(appRouter)) readings.set(path, reading);
