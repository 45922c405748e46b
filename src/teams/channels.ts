/**
 * Channels: where a team is spoken to from outside. Each has a secret that what comes in must carry or
 * be signed with; it is shown once, when it is made, and once when another takes its place.
 */
import { and, desc, eq, lt, sql } from "drizzle-orm";
import { v7 } from "uuid";
import { z } from "zod";
import { channelKinds, channels } from "../../db/schema/channels.ts";
import { teams } from "../../db/schema/teams.ts";
import { afterCommit, read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { invalid } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { changingAccess } from "../identity/authority.ts";
import { requireMoreThanSelf } from "../identity/giving.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found, given, one } from "../rows.ts";
import { MASK } from "../secrets/masks.ts";
import { at } from "../secrets/places.ts";
import { publish, record } from "../trail.ts";
import { newWebhookSecret } from "../webhook_signatures.ts";
import { name, webAddress } from "../words.ts";
import { isBotToken } from "./channels/telegram_api.ts";
import { botIdOf } from "./channels/telegram.ts";
import { disconnected } from "./channels/endings.ts";
import { urlOf } from "./channels/openings.ts";
import { requireToGiveVoice, requireToRevive } from "./team_keys.ts";

const TELEGRAM = "https://api.telegram.org";

export const Channel = z.object({
  id: z.uuid(),
  teamId: z.uuid(),
  kind: z.enum(channelKinds),
  name: z.string().max(255),
  token: z.literal(MASK).nullable(),
  tokenFingerprint: z.string().max(32).nullable(),
  apiRoot: z.string().max(2048),
  /** Null while it is not connected. */
  botName: z.string().max(255).nullable(),
  /** Where the platform sends what is said. */
  url: z.string().max(2048),
  /** Until when the secret before this one is taken too. */
  previousSecretUntil: z.date().nullable(),
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
const shown = (ctx: TenantCtx, row: Row): Channel => ({ ...row, url: urlOf(ctx, row.id) });
/** With `self` reach none: they are a team's. */
export const own = ({ tenantId, reach }: TenantCtx, id?: string) =>
  and(
    eq(channels.tenantId, tenantId),
    id === undefined ? undefined : eq(channels.id, id),
    reach === "self" ? sql`false` : undefined,
  );

const TOKEN = "Give the token BotFather gave, like 123456:ABC…";
const token = z.string(TOKEN).refine(isBotToken, TOKEN);

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

/** For Telegram 48 random bytes, in the letters it lets a secret have. */
export const newSecret = (kind: Channel["kind"]): string =>
  kind === "telegram"
    ? crypto.getRandomValues(new Uint8Array(48)).toBase64({ alphabet: "base64url" })
    : newWebhookSecret();
export const warning = "Save this secret securely. It will not be shown again.";

/** Throws ValidationError for what its kind needs or does not take. */
function rootOf({ kind, token, apiRoot }: z.infer<typeof Create>): string {
  if (kind === "telegram") {
    if (token === undefined) throw invalid("token", "Give the bot's token");
    if (apiRoot && new URL(apiRoot).search) throw invalid("api_root", "Leave out what follows ?");
    return (apiRoot ?? TELEGRAM).replace(/\/+$/, "");
  }
  if (token !== undefined) throw invalid("token", "A webhook has none: leave it out");
  if (apiRoot === undefined) throw invalid("api_root", "Give the address answers are sent to");
  return apiRoot;
}

/** Makes a channel, which speaks as the team; a bot is connected to it with `connect`. */
export async function create(ctx: TenantCtx, input: z.infer<typeof Create>) {
  requireMoreThanSelf(ctx);
  const apiRoot = rootOf(input);
  const { kind, teamId, name, token } = input;
  await ctx.secrets.ready(ctx);
  const id = v7();
  const secret = newSecret(kind);
  return await transact(ctx, async (ctx) => {
    await changingAccess(ctx); // Whoever has its secret speaks as the team.
    await requireTeam(ctx, teamId);
    await requireToGiveVoice(ctx);
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
    return { channel, secret, warning };
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
  /** The mask of an answer leaves it as it is. */
  token: z.union([z.literal(MASK), token], TOKEN).optional(),
  isActive: z.boolean().optional(),
});

/** Changes the fields given. Where it sends is fixed: another place is another channel. */
export async function update(ctx: TenantCtx, { id, ...input }: z.infer<typeof Update>) {
  await ctx.secrets.ready(ctx);
  return await transact(ctx, async (ctx) => {
    const { token, name, isActive } = input;
    if (isActive === true) await changingAccess(ctx);
    const before = await held(ctx, id);
    const set = {
      ...given({ name, isActive }),
      ...token === undefined || token === MASK ? {} : await newToken(ctx, before, token),
    };
    if (Object.keys(set).length === 0) return before;
    if (isActive === true && !before.isActive) await requireToRevive(ctx);
    return await changed(ctx, before, set, "channel.updated");
  });
}

/** Another bot numbers its updates anew and knows other people: it is another channel. */
async function newToken(ctx: TxCtx, { id, kind }: Channel, token: string) {
  const [row] = await ctx.db.select({ token: channels.token }).from(channels).where(own(ctx, id));
  if (kind !== "telegram" || !row?.token) {
    throw invalid("token", "A webhook has none: leave it out");
  }
  const known = await ctx.secrets.open(ctx, at(channels.token, id), row.token);
  if (botIdOf(known.reveal()) !== botIdOf(token)) {
    throw invalid("token", "This is another bot's token: make another channel for it");
  }
  return {
    token: await ctx.secrets.seal(ctx, at(channels.token, id), token),
    tokenFingerprint: await ctx.secrets.fingerprint(ctx, token),
    botName: null, // Telegram forgets with a token where to send.
  };
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

/** A channel of the tenant, locked and as the caller expects it. Throws NotFound, PreconditionFailed. */
export async function held(ctx: TxCtx, id: string): Promise<Channel> {
  const rows = await ctx.db.select(columns).from(channels).where(own(ctx, id)).for("update");
  const channel = shown(ctx, found(rows, "channel"));
  requireMatch(ctx.ifMatch, channel);
  return channel;
}

type Columns = typeof channels.$inferInsert;
type Change = { [name in keyof Columns]?: Columns[name] | undefined };

/** Writes a change with its record. Of one that is out of use the platform is told to send no more. */
export async function changed(
  ctx: TxCtx,
  before: Channel,
  given: Change,
  action: string,
): Promise<Channel> {
  const ends = before.isActive && given.isActive === false;
  const set = ends ? { ...given, botName: null } : given;
  const rows = await ctx.db.update(channels).set(set).where(own(ctx, before.id))
    .returning(columns);
  const after = shown(ctx, one(rows));
  if (ends) afterCommit(ctx, () => disconnected(ctx, before.id));
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
