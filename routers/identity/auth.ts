/** Signing in and out, and staying signed in. */
import { z } from "zod";
import * as auth from "../../src/identity/auth.ts";
import * as sessions from "../../src/identity/sessions.ts";
import { call, may, open, rest, router } from "../trpc.ts";

export const authRouters = {
  auth: router({
    signIn: open.meta(rest("POST /auth/sign-in", "Sign in"))
      .input(auth.SignIn).output(sessions.Tokens).mutation(call(auth.signIn)),
    refresh: open.meta(rest("POST /auth/refresh", "Trade a refresh token for the next"))
      .input(sessions.Refresh).output(sessions.Tokens).mutation(call(sessions.refresh)),
    signOut: may("sessions.revoke").meta(rest("POST /auth/sign-out", "Sign out", 204))
      .input(sessions.SignOut).output(z.void()).mutation(call(sessions.signOut)),
    me: may("users.read").meta(rest("GET /auth/me", "Who am I, and what may I do"))
      .input(auth.Myself).output(auth.Me).query(call(auth.me)),
  }),
};
