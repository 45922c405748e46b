/** The trail as a client sees it. */
import * as audit from "../src/audit.ts";
import * as events from "../src/events.ts";
import { call, may, rest, router } from "./trpc.ts";

export const auditRouter = router({
  list: may("audit.read").meta(rest("GET /audit-entries", "List audit entries"))
    .input(audit.List).output(audit.Listed).query(call(audit.list)),
});

export const eventsRouter = router({
  list: may("events.read").meta(rest("GET /events", "List events"))
    .input(events.List).output(events.Listed).query(call(events.list)),
});
