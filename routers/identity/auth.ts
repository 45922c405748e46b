/** Signing in and out, staying signed in, acting elsewhere, and keeping one's sign-in in order. */
import { z } from "zod";
import * as auth from "../../src/identity/auth.ts";
import * as exchanges from "../../src/identity/exchanges.ts";
import * as ownPasswords from "../../src/identity/own_passwords.ts";
import * as secondFactors from "../../src/identity/second_factors.ts";
import * as sessionLists from "../../src/identity/session_lists.ts";
import * as sessions from "../../src/identity/sessions.ts";
import { call, may, open, rest, router } from "../trpc.ts";

/** Why such a call is never answered out of what was kept for a repeated request. */
const anew = "What proves somebody is looked at each time, and nothing of it is kept";

export const authRouters = {
  auth: router({
    signIn: open.meta(rest("POST /auth/sign-in", "Sign in"))
      .input(auth.SignIn).output(sessions.Tokens).mutation(call(auth.signIn)),
    refresh: open.meta(rest("POST /auth/refresh", "Trade a refresh token for the next"))
      .input(sessions.Refresh).output(sessions.Tokens).mutation(call(sessions.refresh)),
    exchange: may("sessions.exchange")
      .meta({
        ...rest("POST /auth/exchange", "Get a token for another tenant one may act in"),
        anew: "A token kept for a repeated request would outlive its session, and go unaudited",
      })
      .input(exchanges.Exchange).output(exchanges.Exchanged).mutation(call(exchanges.exchange)),
    signOut: may("sessions.revoke").meta(rest("POST /auth/sign-out", "Sign out", 204))
      .input(sessions.SignOut).output(z.void()).mutation(call(sessions.signOut)),
    signOutEverywhere: may("sessions.revoke")
      .meta(rest("POST /auth/sign-out-everywhere", "Sign out on every device"))
      .input(sessionLists.SignOutEverywhere).output(sessionLists.Ended)
      .mutation(call(sessionLists.signOutEverywhere)),
    revoke: may("sessions.revoke").meta(rest("POST /auth/revoke", "End a token of one's own", 204))
      .input(sessionLists.RevokeToken).output(z.void()).mutation(call(sessionLists.revokeToken)),
    changePassword: may("sign_in.update")
      .meta({ ...rest("POST /auth/password", "Change one's own password"), anew })
      .input(ownPasswords.Change).output(ownPasswords.Changed).mutation(call(ownPasswords.change)),
    me: may("users.read").meta(rest("GET /auth/me", "Who am I, and what may I do"))
      .input(auth.Myself).output(auth.Me).query(call(auth.me)),
  }),
  sessions: router({
    list: may("sessions.read").meta(rest("GET /sessions", "List where somebody is signed in"))
      .input(sessionLists.List).output(sessionLists.Listed).query(call(sessionLists.list)),
    revoke: may("sessions.revoke").meta(rest("POST /sessions/{id}/revoke", "End a session"))
      .input(sessionLists.Revoke).output(sessionLists.Session).mutation(call(sessionLists.revoke)),
    revokeAll: may("sessions.revoke")
      .meta(rest("POST /users/{user_id}/sessions/revoke", "End all sessions of a user"))
      .input(sessionLists.RevokeAll).output(sessionLists.Ended)
      .mutation(call(sessionLists.revokeAll)),
  }),
  secondFactor: router({
    get: may("sign_in.update").meta(rest("GET /auth/second-factor", "One's own second factor"))
      .input(secondFactors.Get).output(secondFactors.SecondFactor).query(call(secondFactors.get)),
    begin: may("sign_in.update")
      .meta({ ...rest("POST /auth/second-factor", "Begin with an authenticator"), anew })
      .input(secondFactors.Begin).output(secondFactors.Begun).mutation(call(secondFactors.begin)),
    confirm: may("sign_in.update")
      .meta(rest("POST /auth/second-factor/confirm", "Take the authenticator into use"))
      .input(secondFactors.Confirm).output(secondFactors.Codes)
      .mutation(call(secondFactors.confirm)),
    disable: may("sign_in.update")
      .meta({
        ...rest("POST /auth/second-factor/disable", "Do without a second factor", 204),
        anew,
      })
      .input(secondFactors.Disable).output(z.void()).mutation(call(secondFactors.disable)),
    recoveryCodes: may("sign_in.update")
      .meta({ ...rest("POST /auth/second-factor/recovery-codes", "Make new recovery codes"), anew })
      .input(secondFactors.RecoveryCodes).output(secondFactors.Codes)
      .mutation(call(secondFactors.renewCodes)),
    reset: may("users.reset")
      .meta(
        rest("POST /users/{user_id}/second-factor/reset", "Take a user's second factor away", 204),
      )
      .input(secondFactors.Reset).output(z.void()).mutation(call(secondFactors.reset)),
  }),
};
