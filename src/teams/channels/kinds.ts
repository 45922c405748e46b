/** The kinds of channels there are. */
import { channelKinds } from "../../../db/schema/channels.ts";
import type { Adapter } from "./adapter.ts";
import { telegram } from "./telegram.ts";
import { webhook } from "./webhook.ts";

export type Kind = typeof channelKinds[number];
const adapters: Readonly<Record<Kind, Adapter>> = { telegram, webhook };

export const adapterOf = (kind: Kind): Adapter => adapters[kind];
export const isKind = (value: unknown): value is Kind =>
  channelKinds.some((kind) => kind === value);
