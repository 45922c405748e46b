/** The providers every new installation's catalogue starts with, each with its true endpoints. */

import { call } from "./provider_seed/call.ts";
import { chat } from "./provider_seed/chat.ts";
import { email } from "./provider_seed/email.ts";
import type { Provider } from "./provider_seed/shape.ts";
import { sms } from "./provider_seed/sms.ts";

export { Provider } from "./provider_seed/shape.ts";

/** Endpoints and scopes as the providers' documentation gives them; unique by case-folded name. */
export const providers: readonly Provider[] = [...email, ...chat, ...sms, ...call];
