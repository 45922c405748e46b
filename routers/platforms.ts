/** Platforms as a client sees them. An entry is: name, who may call, where REST finds it, what it takes and gives, the verb. */
import { z } from "zod";
import * as bindings from "../src/platforms/bindings.ts";
import * as catalogue from "../src/platforms/catalogue.ts";
import * as connections from "../src/platforms/connections.ts";
import * as credentials from "../src/platforms/credentials.ts";
import * as services from "../src/platforms/services.ts";
import { call, may, rest, router } from "./trpc.ts";

export const platforms = router({
  catalogue: router({
    create: may("platforms.create").meta(rest("POST /platforms", "Create a platform", 201))
      .input(catalogue.Create).output(catalogue.Created).mutation(call(catalogue.create)),
    get: may("platforms.read").meta(rest("GET /platforms/{id}", "Get a platform"))
      .input(catalogue.Get).output(catalogue.Platform).query(call(catalogue.get)),
    update: may("platforms.update").meta(rest("PUT /platforms/{id}", "Update a platform"))
      .input(catalogue.Update).output(catalogue.Platform).mutation(call(catalogue.update)),
    delete: may("platforms.delete").meta(rest("DELETE /platforms/{id}", "Delete a platform", 204))
      .input(catalogue.Delete).output(z.void()).mutation(call(catalogue.remove)),
    list: may("platforms.read").meta(rest("GET /platforms", "List platforms"))
      .input(catalogue.List).output(catalogue.Listed).query(call(catalogue.list)),
  }),
  services: router({
    register: may("service_platforms.register")
      .meta(rest("POST /service-platforms", "Register a service", 201))
      .input(services.Register).output(services.Answer).mutation(call(services.register)),
    get: may("service_platforms.read").meta(rest("GET /service-platforms/{id}", "Get a service"))
      .input(services.Get).output(services.ServicePlatform).query(call(services.get)),
    update: may("service_platforms.update")
      .meta(rest("PUT /service-platforms/{id}", "Update a service's config"))
      .input(services.Update).output(services.ServicePlatform).mutation(call(services.update)),
    deactivate: may("service_platforms.deactivate")
      .meta(rest("POST /service-platforms/{id}/deactivate", "Deactivate a service"))
      .input(services.Deactivate).output(services.Answer).mutation(call(services.deactivate)),
    activate: may("service_platforms.activate")
      .meta(rest("POST /service-platforms/{id}/activate", "Activate a service again"))
      .input(services.Activate).output(services.Answer).mutation(call(services.activate)),
    list: may("service_platforms.read").meta(rest("GET /service-platforms", "List services"))
      .input(services.List).output(services.Listed).query(call(services.list)),
  }),
  credentials: router({
    create: may("credentials.create").meta(rest("POST /credentials", "Store a credential", 201))
      .input(credentials.Create).output(credentials.Credential).mutation(call(credentials.create)),
    get: may("credentials.read").meta(rest("GET /credentials/{id}", "Get a credential"))
      .input(credentials.Get).output(credentials.Credential).query(call(credentials.get)),
    update: may("credentials.update").meta(rest("PUT /credentials/{id}", "Update a credential"))
      .input(credentials.Update).output(credentials.Credential).mutation(call(credentials.update)),
    activate: may("credentials.activate")
      .meta(rest("POST /credentials/{id}/activate", "Put a credential into use"))
      .input(credentials.Activate).output(credentials.Credential)
      .mutation(call(credentials.activate)),
    deactivate: may("credentials.deactivate")
      .meta(rest("POST /credentials/{id}/deactivate", "Take a credential out of use"))
      .input(credentials.Deactivate).output(credentials.Credential)
      .mutation(call(credentials.deactivate)),
    list: may("credentials.read").meta(rest("GET /credentials", "List credentials"))
      .input(credentials.List).output(credentials.Listed).query(call(credentials.list)),
  }),
  connections: router({
    start: may("bindings.connect")
      .meta(rest("POST /connections", "Start connecting an account", 201))
      .input(connections.Start).output(connections.Started).mutation(call(connections.start)),
    complete: may("bindings.connect")
      .meta({
        ...rest("POST /connections/{id}/complete", "Finish connecting an account"),
        repeatable:
          "It trades the code at the provider; a completed connection answers its binding",
      })
      .input(connections.Complete).output(bindings.Binding).mutation(call(connections.complete)),
  }),
  bindings: router({
    get: may("bindings.read").meta(rest("GET /bindings/{id}", "Get a connected account"))
      .input(bindings.Get).output(bindings.Binding).query(call(bindings.get)),
    accessToken: may("bindings.token")
      .meta({
        ...rest("POST /bindings/{id}/token", "Get a valid access token"),
        anew: "A token kept for a repeated request would outlive its revocation, and go unaudited",
      })
      .input(bindings.AccessToken).output(bindings.Token).mutation(call(bindings.accessToken)),
    update: may("bindings.update").meta(rest("PUT /bindings/{id}", "Update a connected account"))
      .input(bindings.Update).output(bindings.Binding).mutation(call(bindings.update)),
    revoke: may("bindings.revoke")
      .meta({
        ...rest("POST /bindings/{id}/revoke", "Disconnect an account"),
        repeatable: "It tells the provider; a revoked binding stays revoked",
      })
      .input(bindings.Revoke).output(bindings.Binding).mutation(call(bindings.revoke)),
    list: may("bindings.read").meta(rest("GET /bindings", "List connected accounts"))
      .input(bindings.List).output(bindings.Listed).query(call(bindings.list)),
  }),
});
