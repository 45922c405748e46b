/** A team as it is stored and shown, and how one is found. */
import { and, eq, sql } from "drizzle-orm";
import { z } from "zod";
import { platformTypes, teams } from "../../db/schema/teams.ts";
import { cached, read, type TenantCtx, type TxCtx } from "../context.ts";
import { columnsOf, found } from "../rows.ts";

export const Team = z.object({
  id: z.uuid(),
  displayName: z.string().max(255),
  platformName: z.string().max(255),
  platformType: z.enum(platformTypes),
  monthlyQuota: z.int().nullable(),
  dailyQuota: z.int().nullable(),
  rateLimit: z.int().nullable(),
  maxHistory: z.int().nullable(),
  defaultModel: z.string().max(255).nullable(),
  availableModels: z.array(z.string().max(255)).max(200).nullable(),
  allowModelSwitch: z.boolean().nullable(),
  isActive: z.boolean(),
  metadata: z.record(z.string(), z.unknown()),
  createdAt: z.date(),
  updatedAt: z.date(),
}).meta({ id: "Team" });
export type Team = z.infer<typeof Team>;
export const teamView = columnsOf(teams, Team);

/** With `self` reach, which a team's key has, that team alone. */
export const ownTeam = ({ tenantId, reach, principal }: TenantCtx, id?: string) =>
  and(
    eq(teams.tenantId, tenantId),
    id === undefined ? undefined : eq(teams.id, id),
    reach === "self" ? principal?.team ? eq(teams.id, principal.team.id) : sql`false` : undefined,
  );

/** The same of one that is known, the tenant apart. */
export const isTheirs = ({ reach, principal }: TenantCtx, id: string) =>
  reach !== "self" || principal?.team?.id === id;

type Which = { id: string } | { platformName: string };

/** A team of the tenant by its id or name, in whatever case; kept, since every chat asks for it. */
export const teamOf = (ctx: TenantCtx, which: Which): Promise<Team | null> =>
  cached(
    ctx,
    {
      tenantId: ctx.tenantId,
      topic: "teams",
      // As it was given: which names are the same, the database alone says.
      key: "id" in which ? `id:${which.id}` : `name:${which.platformName}`,
    },
    () =>
      read(ctx, async (ctx) => {
        const [team] = await ctx.db.select(teamView).from(teams).where(and(
          eq(teams.tenantId, ctx.tenantId),
          "id" in which
            ? eq(teams.id, which.id)
            : sql`lower(${teams.platformName}) = lower(${which.platformName})`,
        ));
        return team ?? null;
      }),
  );

/** A team this ctx may change, held until the transaction ends. */
export async function heldTeam(ctx: TxCtx, id: string): Promise<Team> {
  return found(
    await ctx.db.select(teamView).from(teams).where(ownTeam(ctx, id)).for("no key update"),
    "team",
  );
}
