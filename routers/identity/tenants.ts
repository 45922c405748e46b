/** Tenants, their addresses and their domains. */
import { z } from "zod";
import * as domains from "../../src/identity/domains.ts";
import * as addresses from "../../src/identity/tenant_addresses.ts";
import * as places from "../../src/identity/tenant_places.ts";
import * as tenants from "../../src/identity/tenants.ts";
import { call, may, rest, router } from "../trpc.ts";

export const tenantRouters = {
  tenants: router({
    create: may("tenants.create").meta(rest("POST /tenants", "Create a tenant", 201))
      .input(tenants.Create).output(tenants.Tenant).mutation(call(tenants.create)),
    get: may("tenants.read").meta(rest("GET /tenants/{id}", "Get a tenant"))
      .input(tenants.Get).output(tenants.Tenant).query(call(tenants.get)),
    list: may("tenants.read").meta(rest("GET /tenants", "List the tenants below"))
      .input(tenants.List).output(tenants.Listed).query(call(tenants.list)),
    update: may("tenants.update").meta(rest("PUT /tenants/{id}", "Update a tenant"))
      .input(tenants.Update).output(tenants.Tenant).mutation(call(tenants.update)),
    suspend: may("tenants.suspend")
      .meta(rest("POST /tenants/{id}/suspend", "Suspend a tenant and all below it"))
      .input(places.Suspend).output(places.Reached).mutation(call(places.suspend)),
    activate: may("tenants.activate")
      .meta(rest("POST /tenants/{id}/activate", "Activate a suspended tenant"))
      .input(places.Activate).output(tenants.Tenant).mutation(call(places.activate)),
    close: may("tenants.close")
      .meta(rest("POST /tenants/{id}/close", "Close a tenant and all below it for good"))
      .input(places.Close).output(places.Reached).mutation(call(places.close)),
    move: may("tenants.move")
      .meta(rest("POST /tenants/{id}/move", "Move a tenant with all below it"))
      .input(places.Move).output(tenants.Tenant).mutation(call(places.move)),
  }),
  tenantAddresses: router({
    create: may("tenants.update").meta(rest("POST /tenant-addresses", "Add an address", 201))
      .input(addresses.Create).output(addresses.TenantAddress).mutation(call(addresses.create)),
    get: may("tenants.read").meta(rest("GET /tenant-addresses/{id}", "Get an address"))
      .input(addresses.Get).output(addresses.TenantAddress).query(call(addresses.get)),
    list: may("tenants.read").meta(rest("GET /tenant-addresses", "List the tenant's addresses"))
      .input(addresses.List).output(addresses.Listed).query(call(addresses.list)),
    update: may("tenants.update").meta(rest("PUT /tenant-addresses/{id}", "Update an address"))
      .input(addresses.Update).output(addresses.TenantAddress).mutation(call(addresses.update)),
    delete: may("tenants.update")
      .meta(rest("DELETE /tenant-addresses/{id}", "Delete an address", 204))
      .input(addresses.Delete).output(z.void()).mutation(call(addresses.remove)),
  }),
  domains: router({
    create: may("domains.create").meta(rest("POST /domains", "Claim a domain", 201))
      .input(domains.Create).output(domains.Domain).mutation(call(domains.create)),
    get: may("domains.read").meta(rest("GET /domains/{id}", "Get a domain"))
      .input(domains.Get).output(domains.Domain).query(call(domains.get)),
    list: may("domains.read").meta(rest("GET /domains", "List the tenant's domains"))
      .input(domains.List).output(domains.Listed).query(call(domains.list)),
    verify: may("domains.verify")
      .meta({
        ...rest("POST /domains/{id}/verify", "Show that a domain is the tenant's own"),
        repeatable: "It asks the DNS; a verified domain stays verified",
      })
      .input(domains.Verify).output(domains.Domain).mutation(call(domains.verify)),
    delete: may("domains.delete").meta(rest("DELETE /domains/{id}", "Give up a domain", 204))
      .input(domains.Delete).output(z.void()).mutation(call(domains.remove)),
  }),
};
