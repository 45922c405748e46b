/**
 * What a channel's kind has to know: how to tell a true update, what is said in it, how an answer is
 * cut up and how it is sent. The next channel is one more file like this and a line in kinds.ts.
 */
import type { TenantCtx } from "../../context.ts";
import type { Secret } from "../../secrets/secret.ts";
import type { Spelled } from "../commands.ts";

/** A channel with its secrets open: never kept, never told. */
export type OpenChannel = {
  id: string;
  teamId: string;
  apiRoot: string;
  botName: string | null;
  token: Secret | null;
  secret: Secret;
};

/** One part of an answer as the platform takes it; plain JSON, since it is kept until it is sent. */
export type Part = Record<string, unknown>;
export type Payload = Record<string, unknown>;

/** A true update. Those of a chat are worked off in the order of `position`, which sorts as text. */
export type Arrived = { updateKey: string; chatKey: string; position: string; payload: Payload };

/** What somebody says, who, and where the answer goes. */
export type Heard = {
  platform: string;
  userId: string;
  content: string;
  command: Spelled | null;
  place: Record<string, unknown>;
};

/** What became of a part: `unknown` may have arrived and is not sent again. */
export type Delivery =
  | { what: "sent" }
  | { what: "unknown"; why: string }
  | { what: "later"; afterMs: number; why: string }
  | { what: "moved"; place: Record<string, unknown> }
  | { what: "gone"; why: string };

export type Adapter = {
  /** Null for what is not true; `nothing` for what is not for us. Compares in constant time. */
  receive(
    request: { headers: Headers; body: Uint8Array; now: Date },
    secret: Secret,
  ): Promise<Arrived | "nothing" | null>;
  /** Null: nothing to answer. Never throws. */
  hear(channel: OpenChannel, payload: Payload): Heard | null;
  /** At least one part for a text that is not empty. `isMarkdown`: a model wrote it. */
  divide(text: string, isMarkdown: boolean): Part[];
  /** `id` names the part: the same again is the same message. */
  send(
    ctx: TenantCtx,
    channel: OpenChannel,
    place: Record<string, unknown>,
    part: Part,
    id: string,
  ): Promise<Delivery>;
  /** Shows that an answer is on its way, where the platform can. Never fails. */
  working?(ctx: TenantCtx, channel: OpenChannel, place: Record<string, unknown>): Promise<void>;
  /** Tells the platform where to send updates; answers the bot's name. Throws Fault. */
  connect?(
    ctx: TenantCtx,
    channel: OpenChannel,
    url: string,
    commands: readonly string[],
  ): Promise<string>;
};
