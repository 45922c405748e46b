/** People: users, invitations, forgotten passwords, names other systems have for them. */
import { z } from "zod";
import * as acceptances from "../../src/identity/acceptances.ts";
import * as foreignIds from "../../src/identity/foreign_ids.ts";
import * as invitations from "../../src/identity/invitations.ts";
import * as passwordResets from "../../src/identity/password_resets.ts";
import * as states from "../../src/identity/user_states.ts";
import * as users from "../../src/identity/users.ts";
import { call, may, open, rest, router } from "../trpc.ts";

export const peopleRouters = {
  users: router({
    create: may("users.create").meta(rest("POST /users", "Create a user", 201))
      .input(users.Create).output(users.User).mutation(call(users.create)),
    get: may("users.read").meta(rest("GET /users/{id}", "Get a user"))
      .input(users.Get).output(users.User).query(call(users.get)),
    update: may("users.update").meta(rest("PUT /users/{id}", "Update a user"))
      .input(users.Update).output(users.User).mutation(call(users.update)),
    deactivate: may("users.deactivate")
      .meta(rest("POST /users/{id}/deactivate", "Deactivate a user"))
      .input(states.Deactivate).output(users.User).mutation(call(states.deactivate)),
    activate: may("users.activate").meta(rest("POST /users/{id}/activate", "Activate a user again"))
      .input(states.Activate).output(users.User).mutation(call(states.activate)),
    resetPassword: may("users.reset")
      .meta(rest("POST /users/{id}/reset-password", "Send a user a token for a new password", 202))
      .input(passwordResets.ResetPassword).output(passwordResets.Sent)
      .mutation(call(passwordResets.resetPassword)),
    list: may("users.read").meta(rest("GET /users", "List users"))
      .input(users.List).output(users.Listed).query(call(users.list)),
  }),
  invitations: router({
    create: may("invitations.create").meta(rest("POST /invitations", "Invite somebody", 201))
      .input(invitations.Create).output(invitations.Invitation)
      .mutation(call(invitations.create)),
    get: may("invitations.read").meta(rest("GET /invitations/{id}", "Get an invitation"))
      .input(invitations.Get).output(invitations.Invitation).query(call(invitations.get)),
    list: may("invitations.read").meta(rest("GET /invitations", "List invitations"))
      .input(invitations.List).output(invitations.Listed).query(call(invitations.list)),
    resend: may("invitations.create")
      .meta(rest("POST /invitations/{id}/resend", "Send an invitation again"))
      .input(invitations.Resend).output(invitations.Invitation)
      .mutation(call(invitations.resend)),
    revoke: may("invitations.revoke")
      .meta(rest("POST /invitations/{id}/revoke", "Take an invitation back"))
      .input(invitations.Revoke).output(invitations.Invitation)
      .mutation(call(invitations.revoke)),
    accept: open.meta(rest("POST /invitations/accept", "Accept an invitation", 201))
      .input(acceptances.Accept).output(users.User).mutation(call(acceptances.accept)),
  }),
  passwordResets: router({
    request: open.meta(rest("POST /auth/password-reset", "Ask for a new password", 202))
      .input(passwordResets.Request).output(passwordResets.Requested)
      .mutation(call(passwordResets.request)),
    confirm: open.meta(rest("POST /auth/password-reset/confirm", "Set the new password"))
      .input(passwordResets.Confirm).output(passwordResets.Confirmed)
      .mutation(call(passwordResets.confirm)),
  }),
  foreignIdTypes: router({
    create: may("foreign_ids.create")
      .meta(rest("POST /foreign-id-types", "Create a foreign id type", 201))
      .input(foreignIds.CreateType).output(foreignIds.ForeignIdType)
      .mutation(call(foreignIds.createType)),
    delete: may("foreign_ids.delete")
      .meta(rest("DELETE /foreign-id-types/{id}", "Delete a foreign id type", 204))
      .input(foreignIds.DeleteType).output(z.void()).mutation(call(foreignIds.deleteType)),
    list: may("foreign_ids.read").meta(rest("GET /foreign-id-types", "List foreign id types"))
      .input(foreignIds.ListTypes).output(foreignIds.ListedTypes)
      .query(call(foreignIds.listTypes)),
  }),
  foreignIds: router({
    create: may("foreign_ids.create")
      .meta(rest("POST /users/{id}/foreign-ids", "Give a user a foreign id", 201))
      .input(foreignIds.Create).output(foreignIds.ForeignId).mutation(call(foreignIds.create)),
    delete: may("foreign_ids.delete")
      .meta(rest("DELETE /foreign-ids/{id}", "Delete a foreign id", 204))
      .input(foreignIds.Delete).output(z.void()).mutation(call(foreignIds.remove)),
    list: may("foreign_ids.read")
      .meta(rest("GET /foreign-ids", "List foreign ids, or look one up by type and value"))
      .input(foreignIds.List).output(foreignIds.Listed).query(call(foreignIds.list)),
    listOfUser: may("foreign_ids.read")
      .meta(rest("GET /users/{id}/foreign-ids", "List a user's foreign ids"))
      .input(foreignIds.ListOfUser).output(foreignIds.Listed).query(call(foreignIds.listOfUser)),
  }),
};
