/** Identity as a client sees it, noun by noun. */
import { accessRouters } from "./identity/access.ts";
import { authRouters } from "./identity/auth.ts";
import { groupRouters } from "./identity/groups.ts";
import { keyRouters } from "./identity/keys.ts";
import { peopleRouters } from "./identity/people.ts";
import { ssoRouters } from "./identity/sso.ts";
import { tenantRouters } from "./identity/tenants.ts";
import { router } from "./trpc.ts";

export const identity = router({
  ...authRouters,
  ...keyRouters,
  ...tenantRouters,
  ...peopleRouters,
  ...groupRouters,
  ...accessRouters,
  ...ssoRouters,
});
