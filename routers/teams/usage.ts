/** What teams used, and what is left to them. */
import * as quotas from "../../src/teams/quotas.ts";
import * as logs from "../../src/teams/usage_logs.ts";
import * as usage from "../../src/teams/usage.ts";
import { call, may, rest, router } from "../trpc.ts";

export const usageRouters = {
  usage: router({
    list: may("usage.read")
      .meta(rest("GET /usage", "What was used, by team, day, model, key and user"))
      .input(usage.List).output(usage.Listed).query(call(usage.list)),
    logs: may("usage.read").meta(rest("GET /usage-logs", "What each request came to"))
      .input(logs.List).output(logs.Listed).query(call(logs.list)),
    quota: may("usage.read")
      .meta(rest("GET /teams/{id}/quota", "What is left of a team's quotas, and until when"))
      .input(quotas.Get).output(quotas.Quota).query(call(quotas.get)),
  }),
};
