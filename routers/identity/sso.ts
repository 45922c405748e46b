/** Identity providers, and signing in through them. */
import { z } from "zod";
import * as providers from "../../src/identity/identity_providers.ts";
import * as sessions from "../../src/identity/sessions.ts";
import * as sso from "../../src/identity/sso.ts";
import { call, may, open, rest, router } from "../trpc.ts";

export const ssoRouters = {
  identityProviders: router({
    create: may("identity_providers.create")
      .meta(rest("POST /identity-providers", "Set up an identity provider", 201))
      .input(providers.Create).output(providers.IdentityProvider).mutation(call(providers.create)),
    get: may("identity_providers.read")
      .meta(rest("GET /identity-providers/{id}", "Get an identity provider"))
      .input(providers.Get).output(providers.IdentityProvider).query(call(providers.get)),
    update: may("identity_providers.update")
      .meta(rest("PUT /identity-providers/{id}", "Update an identity provider"))
      .input(providers.Update).output(providers.IdentityProvider).mutation(call(providers.update)),
    delete: may("identity_providers.delete")
      .meta(rest("DELETE /identity-providers/{id}", "Take an identity provider out of use", 204))
      .input(providers.Remove).output(z.void()).mutation(call(providers.remove)),
    activate: may("identity_providers.update")
      .meta(rest("POST /identity-providers/{id}/activate", "Put it into use again"))
      .input(providers.Activate).output(providers.IdentityProvider)
      .mutation(call(providers.activate)),
    test: may("identity_providers.update")
      .meta({
        ...rest("POST /identity-providers/{id}/test", "Ask an identity provider for its metadata"),
        repeatable: "It asks the issuer, who may answer otherwise each time",
      })
      .input(providers.Test).output(providers.Tested).mutation(call(providers.test)),
    list: may("identity_providers.read")
      .meta(rest("GET /identity-providers", "List identity providers"))
      .input(providers.List).output(providers.Listed).query(call(providers.list)),
  }),
  sso: router({
    start: open.meta(rest("POST /auth/sso/start", "Start signing in at an identity provider", 201))
      .input(sso.Start).output(sso.Started).mutation(call(sso.start)),
    complete: open.meta(rest("POST /auth/sso/complete", "Finish signing in at one"))
      .input(sso.Complete).output(sessions.Tokens).mutation(call(sso.complete)),
  }),
};
