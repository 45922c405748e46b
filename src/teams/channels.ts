/**
 * Channels: where a team is spoken to from outside. Each has a secret that what comes in must carry or
 * be signed with; it is shown once, when it is made.
 */
import { and, desc, eq, lt, sql } from "drizzle-orm";
import { v7 } from "uuid";
import { z } from "zod";
import { channelKinds, channels } from "../../db/schema/channels.ts";
import { teams } from "../../db/schema/teams.ts";
import { read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, invalid } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found, given, one } from "../rows.ts";
import { MASK } from "../secrets/masks.ts";
import { at } from "../secrets/places.ts";
import { publish, record } from "../trail.ts";
import { newWebhookSecret } from "../webhook_signatures.ts";
import { name, webAddress } from "../words.ts";
import { isBotToken } from "./channels/telegram_api.ts";
import { adapterOf } from "./channels/kinds.ts";
import { effectiveOf } from "./effective.ts";

const TELEGRAM = "https://api.telegram.org";

export const Channel = z.object({
  id: z.uuid(),
  teamId: z.uuid(),
  kind: z.enum(channelKinds),
  name: z.string().max(255),
  token: z.literal(MASK).nullable(),
  tokenFingerprint: z.string().max(32).nullable(),
  apiRoot: z.string().max(2048),
  botName: z.string().max(255).nullable(),
  /** Where the platform sends what is said. */
  url: z.string().max(2048),
  isActive: z.boolean(),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "Channel" });
export type Channel = z.infer<typeof Channel>;
/** The masks stand in the place of columns: no query of a view reads a ciphertext. */
const columns = {
  ...columnsOf(channels, Channel.omit({ token: true, url: true })),
  token: sql<typeof MASK | null>`case when ${channels.token} is null then null else ${MASK} end`,
};

type Row = Omit<Channel, "url">;
const urlOf = ({ publicUrl }: TenantCtx, id: string) => `${publicUrl}/v1/channels/${id}/updates`;
const shown = (ctx: TenantCtx, row: Row): Channel => ({ ...row, url: urlOf(ctx, row.id) });
const own = ({ tenantId }: TenantCtx, id?: string) =>
  and(eq(channels.tenantId, tenantId), id === undefined ? undefined : eq(channels.id, id));

const token = z.string().refine(isBotToken, "Give the token BotFather gave, like 123456:ABC…");

export const Create = z.strictObject({
  teamId: z.uuid(),
  kind: z.enum(channelKinds, `Give ${channelKinds.join(" or ")}`),
  name: name("a name to tell it by"),
  token: token.optional(),
  /** Another Bot API server, or, of a webhook, where answers are sent. */
  apiRoot: webAddress.optional(),
});
export const Created = z.object({
  channel: Channel,
  secret: z.string().max(128),
  warning: z.string().max(255),
});

/** 48 random bytes in the letters Telegram lets a secret have. */
const newTelegramSecret = () =>
  crypto.getRandomValues(new Uint8Array(48)).toBase64({ alphabet: "base64url" });

/** Throws ValidationError for what its kind needs or does not take. */
function rootOf({ kind, token, apiRoot }: z.infer<typeof Create>): string {
  if (kind === "telegram") {
    if (token === undefined) throw invalid("token", "Give the bot's token");
    return (apiRoot ?? TELEGRAM).replace(/\/+$/, "");
  }
  if (token !== undefined) throw invalid("token", "A webhook has none: leave it out");
  if (apiRoot === undefined) throw invalid("api_root", "Give the address answers are sent to");
  return apiRoot;
}

/** Makes a channel; a bot is connected to it with `connect`. */
export async function create(ctx: TenantCtx, input: z.infer<typeof Create>) {
  const apiRoot = rootOf(input);
  const { kind, teamId, name, token } = input;
  await ctx.secrets.ready(ctx);
  const id = v7();
  const secret = kind === "telegram" ? newTelegramSecret() : newWebhookSecret();
  return await transact(ctx, async (ctx) => {
    await requireTeam(ctx, teamId);
    const row = one(
      await ctx.db.insert(channels).values({
        id,
        tenantId: ctx.tenantId,
        teamId,
        kind,
        name,
        apiRoot,
        token: token ? await ctx.secrets.seal(ctx, at(channels.token, id), token) : null,
        tokenFingerprint: token ? await ctx.secrets.fingerprint(ctx, token) : null,
        secret: await ctx.secrets.seal(ctx, at(channels.secret, id), secret),
      }).returning(columns),
    );
    const channel = shown(ctx, row);
    await note(ctx, "channel.created", null, channel);
    return { channel, secret, warning: "Save this secret securely. It will not be shown again." };
  });
}

async function requireTeam(ctx: TxCtx, teamId: string) {
  const rows = await ctx.db.select({ id: teams.id }).from(teams)
    .where(and(eq(teams.tenantId, ctx.tenantId), eq(teams.id, teamId)));
  if (rows.length === 0) throw invalid("team_id", "Give a team of this tenant");
}

export const Get = z.strictObject({ id: z.uuid() });

export const get = (ctx: TenantCtx, { id }: z.infer<typeof Get>) =>
  read(ctx, async (ctx) => {
    const rows = await ctx.db.select(columns).from(channels).where(own(ctx, id));
    return shown(ctx, found(rows, "channel"));
  });

export const Update = z.strictObject({
  id: z.uuid(),
  name: name("a name to tell it by").optional(),
  token: token.optional(),
  isActive: z.boolean().optional(),
});

/** Changes the fields given. Where it sends is fixed: another place is another channel. */
export async function update(ctx: TenantCtx, { id, ...input }: z.infer<typeof Update>) {
  await ctx.secrets.ready(ctx);
  return await transact(ctx, async (ctx) => {
    const before = await held(ctx, id);
    const { token, name, isActive } = input;
    if (token !== undefined && before.kind !== "telegram") {
      throw invalid("token", "A webhook has none: leave it out");
    }
    const set = {
      ...given({ name, isActive }),
      ...token === undefined ? {} : {
        token: await ctx.secrets.seal(ctx, at(channels.token, id), token),
        tokenFingerprint: await ctx.secrets.fingerprint(ctx, token),
        botName: null, // Another bot perhaps: it is connected anew.
      },
    };
    if (Object.keys(set).length === 0) return before;
    return await changed(ctx, before, set, "channel.updated");
  });
}

export const Deactivate = Get;

/** Takes a channel out of use: what comes in is turned away. */
export function deactivate(ctx: TenantCtx, { id }: z.infer<typeof Deactivate>) {
  return transact(ctx, async (ctx) => {
    const before = await held(ctx, id);
    return before.isActive
      ? await changed(ctx, before, { isActive: false }, "channel.deactivated")
      : before;
  });
}

export const Connect = Get;

/** Tells the platform where to send what is said, and which commands there are. Again does no harm. */
export async function connect(ctx: TenantCtx, { id }: z.infer<typeof Connect>): Promise<Channel> {
  const rows = await read(ctx, (ctx) => ctx.db.select().from(channels).where(own(ctx, id)));
  const row = found(rows, "channel");
  const adapter = adapterOf(row.kind);
  if (!adapter.connect) {
    throw conflict("channel.nothing_to_connect", "A webhook needs no connecting: use its address");
  }
  const { effective } = await effectiveOf(ctx, row.teamId);
  const channel = {
    ...row,
    token: row.token === null
      ? null
      : await ctx.secrets.open(ctx, at(channels.token, id), row.token),
    secret: await ctx.secrets.open(ctx, at(channels.secret, id), row.secret),
  };
  const botName = await adapter.connect(ctx, channel, urlOf(ctx, id), effective.commands);
  return await transact(ctx, async (ctx) => {
    const before = await held(ctx, id);
    return await changed(ctx, before, { botName }, "channel.connected");
  });
}

async function held(ctx: TxCtx, id: string): Promise<Channel> {
  const rows = await ctx.db.select(columns).from(channels).where(own(ctx, id)).for("update");
  const channel = shown(ctx, found(rows, "channel"));
  requireMatch(ctx.ifMatch, channel);
  return channel;
}

type Columns = typeof channels.$inferInsert;
type Change = { [name in keyof Columns]?: Columns[name] | undefined };

async function changed(
  ctx: TxCtx,
  before: Channel,
  set: Change,
  action: string,
): Promise<Channel> {
  const rows = await ctx.db.update(channels).set(set).where(own(ctx, before.id))
    .returning(columns);
  const after = shown(ctx, one(rows));
  await note(ctx, action, before, after);
  return after;
}

export const List = z.strictObject({ teamId: z.uuid().optional(), ...page });
export const Listed = z.object({ channels: z.array(Channel).max(100), nextCursor });

export function list(ctx: TenantCtx, { teamId, cursor, limit }: z.infer<typeof List>) {
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(columns).from(channels).where(and(
      own(ctx),
      teamId ? eq(channels.teamId, teamId) : undefined,
      cursor ? lt(channels.id, cursor) : undefined,
    )).orderBy(desc(channels.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { channels: items.map((row) => shown(ctx, row)), nextCursor };
  });
}

const trail = ({ token: _, tokenFingerprint, ...rest }: Channel) => ({
  ...rest,
  token: tokenFingerprint,
});

async function note(ctx: TxCtx, action: string, before: Channel | null, after: Channel) {
  const { id: subjectId, kind, name, teamId, isActive } = after;
  await record(ctx, {
    action,
    subjectType: "channel",
    subjectId,
    before: before && trail(before),
    after: trail(after),
  });
  await publish(ctx, {
    type: action,
    source: "/channels",
    subjectId,
    data: { kind, name, teamId, isActive, tenantId: ctx.tenantId },
  });
}
