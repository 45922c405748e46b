/** Chat as a client sees it: say something to a team, and read what was said. */
import { tracked, TRPCError } from "@trpc/server";
import type { TenantCtx } from "../src/context.ts";
import { Fault } from "../src/errors.ts";
import * as chat from "../src/teams/chat.ts";
import * as sessions from "../src/teams/chat_sessions.ts";
import { call, may, rest, router } from "./trpc.ts";

/** Each piece under a number, so that a client which asks again by itself says that it does. */
async function* numbered(
  ctx: TenantCtx,
  input: Parameters<typeof chat.stream>[1],
  signal: AbortSignal,
) {
  let number = 0;
  try {
    for await (const piece of chat.stream(ctx, input, signal)) {
      yield tracked(String(number++), piece);
    }
  } catch (error) {
    // tRPC's client would ask again for ever after a 502 or 503, and a model each time.
    if (!(error instanceof Fault)) throw error;
    throw new TRPCError({ code: "UNPROCESSABLE_CONTENT", message: error.message, cause: error });
  }
}

/** A call within this process has nobody who could leave. */
const never = new AbortController().signal;

export const chatRouter = router({
  send: may("chat.send")
    .meta({
      ...rest("POST /chat/messages", "Say something to a team and wait for the answer"),
      repeatable:
        "It asks a model; the answer to a repeated key is kept and nothing is asked again",
    })
    .input(chat.Send).output(chat.Sent).mutation(call(chat.send)),
  stream: may("chat.send").meta({ summary: "Say something and get the answer piece by piece" })
    .input(chat.Stream).subscription(({ ctx, input, signal = never }) =>
      numbered(ctx.held, input, signal)
    ),
  sessions: router({
    get: may("chat.read").meta(rest("GET /chat/sessions/{id}", "Get a conversation"))
      .input(sessions.Get).output(sessions.ChatSession).query(call(sessions.get)),
    clear: may("chat.send")
      .meta(rest("POST /chat/sessions/{id}/clear", "Let a conversation begin anew"))
      .input(sessions.Clear).output(sessions.Cleared).mutation(call(sessions.clear)),
    list: may("chat.read").meta(rest("GET /chat/sessions", "List conversations"))
      .input(sessions.List).output(sessions.Listed).query(call(sessions.list)),
  }),
  messages: router({
    list: may("chat.read")
      .meta(rest("GET /chat/sessions/{session_id}/messages", "List what was said"))
      .input(sessions.ListMessages).output(sessions.MessagesListed)
      .query(call(sessions.listMessages)),
  }),
});
