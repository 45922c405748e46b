import { identity } from "./identity.ts";
import { platforms } from "./platforms.ts";
import { auditRouter, eventsRouter } from "./trail.ts";
import { router } from "./trpc.ts";

export const appRouter = router({ identity, platforms, audit: auditRouter, events: eventsRouter });
export type AppRouter = typeof appRouter;
