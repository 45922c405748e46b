/** Foreign ids: what other systems call our users, by kinds of name that a tenant declares. */
import { and, desc, eq, lt, sql } from "drizzle-orm";
import { z } from "zod";
import { foreignIds, foreignIdTypes, users } from "../../db/schema/identity.ts";
import { read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict } from "../errors.ts";
import { requireMatch } from "../etags.ts";
import { nextCursor, page, pageOf } from "../pages.ts";
import { columnsOf, found } from "../rows.ts";
import { publish, record } from "../trail.ts";
import { name } from "../words.ts";
import { requireMoreThanSelf } from "./giving.ts";
import { ownUser } from "./users.ts";

export const ForeignIdType = z.object({
  id: z.uuid(),
  name: z.string().max(255),
  description: z.string().max(1000).nullable(),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "ForeignIdType" });
const typeView = columnsOf(foreignIdTypes, ForeignIdType);

export const ForeignId = z.object({
  id: z.uuid(),
  ownerUserId: z.uuid(),
  typeId: z.uuid(),
  value: z.string().max(255),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "ForeignId" });
const view = columnsOf(foreignIds, ForeignId);

const ownType = (ctx: TenantCtx, id?: string) =>
  and(
    eq(foreignIdTypes.tenantId, ctx.tenantId),
    id === undefined ? undefined : eq(foreignIdTypes.id, id),
  );

/** With `self` reach only one's own. */
const own = (ctx: TenantCtx, id?: string) =>
  and(
    eq(foreignIds.tenantId, ctx.tenantId),
    id === undefined ? undefined : eq(foreignIds.id, id),
    ctx.reach !== "self"
      ? undefined
      : ctx.userId
      ? eq(foreignIds.ownerUserId, ctx.userId)
      : sql`false`,
  );

export const CreateType = z.strictObject({
  name: name("what the other system calls it, like payroll number"),
  description: name("a description").nullish(),
});

/** Declares a kind of name, like a payroll number. */
export function createType(ctx: TenantCtx, input: z.infer<typeof CreateType>) {
  requireMoreThanSelf(ctx);
  const { name, description = null } = input;
  return transact(ctx, async (ctx) => {
    const [type] = await ctx.db.insert(foreignIdTypes)
      .values({ tenantId: ctx.tenantId, name, description })
      .onConflictDoNothing().returning(typeView);
    if (!type) throw conflict("foreign_id_type.already_exists", `There is a type ${name} already`);
    await note(ctx, "foreign_id_type", "created", type);
    return type;
  });
}

export const ListTypes = z.strictObject(page);
export const ListedTypes = z.object({
  foreignIdTypes: z.array(ForeignIdType).max(100),
  nextCursor,
});

export function listTypes(ctx: TenantCtx, { cursor, limit }: z.infer<typeof ListTypes>) {
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(typeView).from(foreignIdTypes)
      .where(and(ownType(ctx), cursor ? lt(foreignIdTypes.id, cursor) : undefined))
      .orderBy(desc(foreignIdTypes.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { foreignIdTypes: items, nextCursor };
  });
}

export const DeleteType = z.strictObject({ id: z.uuid() });

/** Removes a kind of name nobody has one of. */
export function deleteType(ctx: TenantCtx, { id }: z.infer<typeof DeleteType>): Promise<void> {
  requireMoreThanSelf(ctx);
  return transact(ctx, async (ctx) => {
    const rows = await ctx.db.select(typeView).from(foreignIdTypes).where(ownType(ctx, id))
      .for("update"); // Nobody links to it from here on.
    const before = found(rows, "foreign_id_type");
    requireMatch(ctx.ifMatch, before);
    const [user] = await ctx.db.select({ id: foreignIds.id }).from(foreignIds)
      .where(and(eq(foreignIds.tenantId, ctx.tenantId), eq(foreignIds.typeId, id))).limit(1);
    if (user) throw conflict("foreign_id_type.in_use", "Users have ids of it: delete those first");
    await ctx.db.delete(foreignIdTypes).where(ownType(ctx, id));
    await note(ctx, "foreign_id_type", "deleted", before);
  });
}

export const Create = z.strictObject({
  /** The user's. */
  id: z.uuid(),
  typeId: z.uuid("Give a foreign id type's id"),
  value: name("what the other system calls the user"),
});

/** Notes what another system calls a user. A name of one kind is one user's alone. */
export function create(ctx: TenantCtx, { id: userId, typeId, value }: z.infer<typeof Create>) {
  return transact(ctx, async (ctx) => {
    const { tenantId } = ctx;
    found(
      await ctx.db.select({ id: users.id }).from(users).where(ownUser(ctx, userId))
        .for("key share"),
      "user",
    );
    found(
      await ctx.db.select({ id: foreignIdTypes.id }).from(foreignIdTypes)
        .where(ownType(ctx, typeId)).for("key share"),
      "foreign_id_type",
    );
    const [foreignId] = await ctx.db.insert(foreignIds)
      .values({ tenantId, ownerUserId: userId, typeId, value })
      .onConflictDoNothing().returning(view);
    if (!foreignId) throw conflict("foreign_id.already_exists", `Somebody has ${value} already`);
    await note(ctx, "foreign_id", "created", foreignId);
    return foreignId;
  });
}

export const List = z.strictObject({
  userId: z.uuid().optional(),
  typeId: z.uuid().optional(),
  value: name("what the other system calls the user").optional(),
  ...page,
});
export const Listed = z.object({ foreignIds: z.array(ForeignId).max(100), nextCursor });

/** Foreign ids, newest first; with a type and a value, whose that one is. */
export function list(ctx: TenantCtx, input: z.infer<typeof List>) {
  const { userId, typeId, value, cursor, limit } = input;
  return read(ctx, async (ctx) => {
    const rows = await ctx.db.select(view).from(foreignIds).where(and(
      own(ctx),
      userId ? eq(foreignIds.ownerUserId, userId) : undefined,
      typeId ? eq(foreignIds.typeId, typeId) : undefined,
      value ? eq(foreignIds.value, value) : undefined,
      cursor ? lt(foreignIds.id, cursor) : undefined,
    )).orderBy(desc(foreignIds.id)).limit(limit + 1);
    const { items, nextCursor } = pageOf(rows, limit);
    return { foreignIds: items, nextCursor };
  });
}

export const ListOfUser = z.strictObject({ id: z.uuid(), ...page });

export function listOfUser(ctx: TenantCtx, { id, ...page }: z.infer<typeof ListOfUser>) {
  return read(ctx, async (ctx) => {
    found(await ctx.db.select({ id: users.id }).from(users).where(ownUser(ctx, id)), "user");
    return await list(ctx, { userId: id, ...page });
  });
}

export const Delete = z.strictObject({ id: z.uuid() });

export function remove(ctx: TenantCtx, { id }: z.infer<typeof Delete>): Promise<void> {
  return transact(ctx, async (ctx) => {
    const rows = await ctx.db.delete(foreignIds).where(own(ctx, id)).returning(view);
    await note(ctx, "foreign_id", "deleted", found(rows, "foreign_id"));
  });
}

type Row = Record<string, unknown> & { id: string; createdAt: Date; updatedAt: Date };

async function note(
  ctx: TxCtx,
  subjectType: "foreign_id" | "foreign_id_type",
  verb: "created" | "deleted",
  row: Row,
) {
  const { createdAt: _, updatedAt: __, ...data } = row;
  const action = `${subjectType}.${verb}`;
  const [before, after] = verb === "created" ? [null, row] : [row, null];
  await record(ctx, { action, subjectType, subjectId: row.id, before, after });
  const source = subjectType === "foreign_id" ? "/foreign-ids" : "/foreign-id-types";
  await publish(ctx, { type: action, source, subjectId: row.id, data });
}
