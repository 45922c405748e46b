/** Teams as a client sees them, noun by noun. */
import { channelRouters } from "./teams/channels.ts";
import { settingRouters } from "./teams/settings.ts";
import { teamRouters } from "./teams/teams.ts";
import { usageRouters } from "./teams/usage.ts";
import { router } from "./trpc.ts";

export const teams = router({
  ...teamRouters,
  ...settingRouters,
  ...channelRouters,
  ...usageRouters,
});
