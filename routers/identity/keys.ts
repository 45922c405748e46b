/** Keys for programs, the service accounts that own them, and where they may be used from. */
import { z } from "zod";
import * as apiKeys from "../../src/identity/api_keys.ts";
import * as clientAccess from "../../src/identity/client_access.ts";
import * as rotation from "../../src/identity/key_rotation.ts";
import * as serviceAccounts from "../../src/identity/service_accounts.ts";
import { call, may, rest, router } from "../trpc.ts";

export const keyRouters = {
  apiKeys: router({
    create: may("api_keys.create").meta(rest("POST /api-keys", "Create an API key", 201))
      .input(apiKeys.Create).output(apiKeys.Created).mutation(call(apiKeys.create)),
    get: may("api_keys.read").meta(rest("GET /api-keys/{id}", "Get an API key"))
      .input(apiKeys.Get).output(apiKeys.ApiKey).query(call(apiKeys.get)),
    update: may("api_keys.create").meta(rest("PUT /api-keys/{id}", "Rename an API key"))
      .input(apiKeys.Update).output(apiKeys.ApiKey).mutation(call(apiKeys.update)),
    rotate: may("api_keys.rotate")
      .meta(rest("POST /api-keys/{id}/rotate", "Let another API key take over", 201))
      .input(rotation.Rotate).output(rotation.Rotated).mutation(call(rotation.rotate)),
    revoke: may("api_keys.revoke").meta(rest("POST /api-keys/{id}/revoke", "Revoke an API key"))
      .input(apiKeys.Revoke).output(apiKeys.ApiKey).mutation(call(apiKeys.revoke)),
    list: may("api_keys.read").meta(rest("GET /api-keys", "List API keys"))
      .input(apiKeys.List).output(apiKeys.Listed).query(call(apiKeys.list)),
  }),
  serviceAccounts: router({
    create: may("users.create")
      .meta(rest("POST /service-accounts", "Create a service account", 201))
      .input(serviceAccounts.Create).output(serviceAccounts.ServiceAccount)
      .mutation(call(serviceAccounts.create)),
    get: may("users.read").meta(rest("GET /service-accounts/{id}", "Get a service account"))
      .input(serviceAccounts.Get).output(serviceAccounts.ServiceAccount)
      .query(call(serviceAccounts.get)),
    list: may("users.read").meta(rest("GET /service-accounts", "List service accounts"))
      .input(serviceAccounts.List).output(serviceAccounts.Listed)
      .query(call(serviceAccounts.list)),
  }),
  clientAccess: router({
    create: may("client_access.create")
      .meta(rest("POST /client-access", "Let callers in from a network", 201))
      .input(clientAccess.Create).output(clientAccess.ClientAccess)
      .mutation(call(clientAccess.create)),
    delete: may("client_access.delete")
      .meta(rest("DELETE /client-access/{id}", "Take a network off its list", 204))
      .input(clientAccess.Delete).output(z.void()).mutation(call(clientAccess.remove)),
    list: may("client_access.read").meta(rest("GET /client-access", "List networks"))
      .input(clientAccess.List).output(clientAccess.Listed).query(call(clientAccess.list)),
  }),
};
