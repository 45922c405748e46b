/** Identity as a client sees it: signing in and out, who one is, and keys for programs. */
import { z } from "zod";
import * as apiKeys from "../src/identity/api_keys.ts";
import * as auth from "../src/identity/auth.ts";
import * as sessions from "../src/identity/sessions.ts";
import { call, may, open, rest, router } from "./trpc.ts";

export const identity = router({
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
  apiKeys: router({
    create: may("api_keys.create").meta(rest("POST /api-keys", "Create an API key", 201))
      .input(apiKeys.Create).output(apiKeys.Created).mutation(call(apiKeys.create)),
    revoke: may("api_keys.revoke").meta(rest("POST /api-keys/{id}/revoke", "Revoke an API key"))
      .input(apiKeys.Revoke).output(apiKeys.ApiKey).mutation(call(apiKeys.revoke)),
    list: may("api_keys.read").meta(rest("GET /api-keys", "List API keys"))
      .input(apiKeys.List).output(apiKeys.Listed).query(call(apiKeys.list)),
  }),
});
