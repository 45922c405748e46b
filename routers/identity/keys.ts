/** Keys for programs, the service accounts that own them, and where they may be used from. */
import * as apiKeys from "../../src/identity/api_keys.ts";
import { call, may, rest, router } from "../trpc.ts";

export const keyRouters = {
  apiKeys: router({
    create: may("api_keys.create").meta(rest("POST /api-keys", "Create an API key", 201))
      .input(apiKeys.Create).output(apiKeys.Created).mutation(call(apiKeys.create)),
    revoke: may("api_keys.revoke").meta(rest("POST /api-keys/{id}/revoke", "Revoke an API key"))
      .input(apiKeys.Revoke).output(apiKeys.ApiKey).mutation(call(apiKeys.revoke)),
    list: may("api_keys.read").meta(rest("GET /api-keys", "List API keys"))
      .input(apiKeys.List).output(apiKeys.Listed).query(call(apiKeys.list)),
  }),
};
