/** Groups, roles, and who has which role where. */
import { z } from "zod";
import * as members from "../../src/identity/group_members.ts";
import * as memberLists from "../../src/identity/member_lists.ts";
import * as groups from "../../src/identity/groups.ts";
import * as roleBindings from "../../src/identity/role_bindings.ts";
import * as roles from "../../src/identity/roles.ts";
import { call, may, rest, router } from "../trpc.ts";

export const groupRouters = {
  groups: router({
    create: may("groups.create").meta(rest("POST /groups", "Create a group", 201))
      .input(groups.Create).output(groups.Group).mutation(call(groups.create)),
    get: may("groups.read").meta(rest("GET /groups/{id}", "Get a group"))
      .input(groups.Get).output(groups.Group).query(call(groups.get)),
    update: may("groups.update").meta(rest("PUT /groups/{id}", "Update a group"))
      .input(groups.Update).output(groups.Group).mutation(call(groups.update)),
    delete: may("groups.delete").meta(rest("DELETE /groups/{id}", "Delete a group", 204))
      .input(groups.Delete).output(z.void()).mutation(call(groups.remove)),
    list: may("groups.read").meta(rest("GET /groups", "List groups"))
      .input(groups.List).output(groups.Listed).query(call(groups.list)),
  }),
  groupMembers: router({
    add: may("group_members.add")
      .meta(rest("POST /groups/{group_id}/members", "Add a user or a group to a group", 201))
      .input(members.Add).output(members.GroupMember).mutation(call(members.add)),
    update: may("group_members.add")
      .meta(rest("PUT /groups/{group_id}/members", "Change a user's membership in a group"))
      .input(members.Update).output(members.GroupMember).mutation(call(members.update)),
    remove: may("group_members.remove")
      .meta(rest("DELETE /groups/{group_id}/members", "Remove a user or a group", 204))
      .input(members.Remove).output(z.void()).mutation(call(members.remove)),
    list: may("groups.read").meta(rest("GET /groups/{group_id}/members", "List who is in a group"))
      .input(memberLists.List).output(memberLists.Listed).query(call(memberLists.list)),
  }),
  roles: router({
    create: may("roles.create").meta(rest("POST /roles", "Create a role", 201))
      .input(roles.Create).output(roles.Role).mutation(call(roles.create)),
    get: may("roles.read").meta(rest("GET /roles/{id}", "Get a role"))
      .input(roles.Get).output(roles.Role).query(call(roles.get)),
    update: may("roles.update").meta(rest("PUT /roles/{id}", "Update a role"))
      .input(roles.Update).output(roles.Role).mutation(call(roles.update)),
    delete: may("roles.delete").meta(rest("DELETE /roles/{id}", "Delete a role", 204))
      .input(roles.Delete).output(z.void()).mutation(call(roles.remove)),
    list: may("roles.read").meta(rest("GET /roles", "List the tenant's own roles"))
      .input(roles.List).output(roles.Listed).query(call(roles.list)),
  }),
  systemRoles: router({
    list: may("roles.read").meta(rest("GET /system-roles", "List the roles every tenant has"))
      .input(roles.ListSystem).output(roles.ListedSystem).query(call(roles.listSystem)),
  }),
  roleBindings: router({
    create: may("role_bindings.create").meta(rest("POST /role-bindings", "Give a role", 201))
      .input(roleBindings.Create).output(roleBindings.RoleBinding)
      .mutation(call(roleBindings.create)),
    get: may("role_bindings.read").meta(rest("GET /role-bindings/{id}", "Get a role binding"))
      .input(roleBindings.Get).output(roleBindings.RoleBinding).query(call(roleBindings.get)),
    revoke: may("role_bindings.revoke")
      .meta(rest("POST /role-bindings/{id}/revoke", "Take a role back"))
      .input(roleBindings.Revoke).output(roleBindings.RoleBinding)
      .mutation(call(roleBindings.revoke)),
    list: may("role_bindings.read").meta(rest("GET /role-bindings", "List role bindings"))
      .input(roleBindings.List).output(roleBindings.Listed).query(call(roleBindings.list)),
  }),
};
