/**
 * What a channel's kind has to know: how to tell a true update, what is said in it, how an answer is
 * cut up and how it is sent. The next channel is one more file like this and a line in kinds.ts.
 */
import { z } from "zod";
import type { TenantCtx } from "../../context.ts";
import type { Secret } from "../../secrets/secret.ts";

/** A channel with its secrets open: never kept, never told. */
export type OpenChannel = {
  id: string;
  teamId: string;
  apiRoot: string;
  botName: string | null;
  token: Secret | null;
  /** What comes in may carry any of these; the first is the one in use. */
  secrets: readonly [Secret, ...Secret[]];
};

/** One part of an answer as the platform takes it; plain JSON, since it is kept until it is sent. */
export type Part = Record<string, unknown>;

/** What somebody says, who, and where the answer goes; plain JSON too. */
export const Heard = z.object({
  platform: z.string(),
  userId: z.string(),
  content: z.string(),
  command: z.object({ name: z.string(), argument: z.string() }).nullable(),
  place: z.record(z.string(), z.unknown()),
});
export type Heard = z.infer<typeof Heard>;

/** A true update. Those of a chat are worked off in the order of `position`, which sorts as text. */
export type Arrived = { updateKey: string; chatKey: string; position: string; heard: Heard };

/** What became of a part: `unknown` may have arrived and is not sent again. */
export type Delivery =
  | { what: "sent" }
  | { what: "unknown"; why: string }
  | { what: "later"; afterMs: number; why: string }
  | { what: "moved"; place: Record<string, unknown> }
  /** Nobody is there any more who could be told. */
  | { what: "gone"; why: string }
  /** It will not be taken, however often it is sent. */
  | { what: "refused"; why: string };

export type Adapter = {
  /**
   * Null for what is not true; `nothing` for what is not for us and need not be sent again. Compares in
   * constant time. Throws ValidationError where whoever sends can be told what would be right.
   */
  receive(
    request: { headers: Headers; body: Uint8Array; now: Date },
    channel: OpenChannel,
  ): Promise<Arrived | "nothing" | null>;
  /** None where there is nothing to see. `isMarkdown`: a model wrote it. */
  divide(text: string, isMarkdown: boolean): Part[];
  /** `id` names the part: the same again is the same message. */
  send(
    ctx: TenantCtx,
    channel: OpenChannel,
    place: Record<string, unknown>,
    part: Part,
    id: string,
  ): Promise<Delivery>;
  /** Shows for a few seconds that an answer is on its way, where the platform can. */
  working?(ctx: TenantCtx, channel: OpenChannel, place: Record<string, unknown>): Promise<void>;
  /** Tells the platform where to send updates; answers the bot's name. Throws ProviderError. */
  connect?(
    ctx: TenantCtx,
    channel: OpenChannel,
    url: string,
    commands: readonly string[],
  ): Promise<string>;
  /** Tells the platform to send no more to `url`. Throws ProviderError. */
  disconnect?(ctx: TenantCtx, channel: OpenChannel, url: string): Promise<void>;
};
