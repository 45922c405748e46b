/**
 * The catalogue of permissions: every `resource.action` a caller may be given. Append only: a token
 * names them by position.
 */
import type { Grants, Reach } from "../context.ts";

export const permissions = [
  "platforms.read",
  "platforms.create",
  "platforms.update",
  "platforms.delete",
  "service_platforms.read",
  "service_platforms.register",
  "service_platforms.update",
  "service_platforms.deactivate",
  "service_platforms.activate",
  "credentials.read",
  "credentials.create",
  "credentials.update",
  "credentials.activate",
  "credentials.deactivate",
  "bindings.read",
  "bindings.connect",
  "bindings.token",
  "bindings.proxy",
  "bindings.update",
  "bindings.revoke",
  "audit.read",
  "events.read",
  "api_keys.read",
  "api_keys.create",
  "api_keys.revoke",
  "users.read",
  "tenants.read",
  "sessions.revoke",
  "tenants.create",
  "tenants.update",
  "tenants.suspend",
  "tenants.activate",
  "tenants.close",
  "tenants.move",
  "domains.read",
  "domains.create",
  "domains.verify",
  "domains.delete",
  "users.create",
  "users.update",
  "users.deactivate",
  "users.activate",
  "users.reset",
  "invitations.read",
  "invitations.create",
  "invitations.revoke",
  "foreign_ids.read",
  "foreign_ids.create",
  "foreign_ids.delete",
  "groups.read",
  "groups.create",
  "groups.update",
  "groups.delete",
  "group_members.add",
  "group_members.remove",
  "roles.read",
  "roles.create",
  "roles.update",
  "roles.delete",
  "role_bindings.read",
  "role_bindings.create",
  "role_bindings.revoke",
  "access.check",
  "sessions.read",
  "sessions.exchange",
  "api_keys.rotate",
  "client_access.read",
  "client_access.create",
  "client_access.delete",
  "identity_providers.read",
  "identity_providers.create",
  "identity_providers.update",
  "identity_providers.delete",
  "sign_in.update",
  "teams.read",
  "teams.create",
  "teams.update",
  "teams.deactivate",
  "team_keys.read",
  "team_keys.create",
  "team_keys.rotate",
  "team_keys.revoke",
  "platform_configs.read",
  "platform_configs.update",
  "upstreams.read",
  "upstreams.create",
  "upstreams.update",
  "upstreams.deactivate",
  "model_prices.read",
  "model_prices.create",
  "model_prices.delete",
  "chat.send",
  "chat.read",
  "usage.read",
  "channels.read",
  "channels.create",
  "channels.update",
  "channels.deactivate",
] as const;

export type Permission = typeof permissions[number];

const known: ReadonlySet<string> = new Set(permissions);
export const isPermission = (key: string): key is Permission => known.has(key);

/** The ladder: each reach includes the ones before it. */
export const ladder = ["self", "tenant", "subtree", "global"] as const satisfies readonly Reach[];
const height = (reach: Reach | undefined) => reach === undefined ? 0 : ladder.indexOf(reach) + 1;

/** What a holder of all of `grants` may do: for each permission the farthest reach given by any. */
export function union(...all: Grants[]): Grants {
  const sum: Partial<Record<Permission, Reach>> = {};
  for (const grants of all) {
    for (const permission of permissions) {
      const reach = grants[permission];
      if (reach && height(reach) > height(sum[permission])) sum[permission] = reach;
    }
  }
  return sum;
}

/** What both allow: a key never does more than its owner. */
export function narrowed(grants: Grants, scopes: readonly string[]): Grants {
  const wanted = new Set(scopes);
  return Object.fromEntries(
    Object.entries(grants).filter(([permission]) => wanted.has(permission)),
  );
}

/** Whether `grants` hold everything in `wanted`, at its reach or farther. */
export const covers = (grants: Grants, wanted: Grants) =>
  permissions.every((p) => height(grants[p]) >= height(wanted[p]));

/** Grants as text: four bits a permission in the catalogue's order, as hexadecimal digits. */
export const encode = (grants: Grants) =>
  permissions.map((p) => height(grants[p])).join("").replace(/0+$/, "");

/** Reads `encode`'s text. Positions this catalogue does not know yet are passed over. */
export function decode(text: string): Grants {
  const grants: Partial<Record<Permission, Reach>> = {};
  permissions.forEach((permission, position) => {
    const reach = ladder[Number(text[position] ?? "0") - 1];
    if (reach) grants[permission] = reach;
  });
  return grants;
}
