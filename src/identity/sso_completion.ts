/**
 * Finishing a sign-in at an identity provider: whoever began it trades the code for an ID token,
 * and who that names has a session.
 *
 * The flow is used up before the provider is asked, so a code is traded once. A process that dies
 * in between leaves a flow that is over: start again. Nobody is asked for a code of their
 * authenticator here: how well a person proves themselves is the provider's business.
 */
import { and, eq, sql } from "drizzle-orm";
import { z } from "zod";
import { identityProviders as providers, ssoFlows as flows } from "../../db/schema/sign_in.ts";
import { flowNamedBy } from "../access/flow_tokens.ts";
import { type Ctx, read, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, Fault } from "../errors.ts";
import { sha256 } from "../idempotency.ts";
import { one } from "../rows.ts";
import { at } from "../secrets/places.ts";
import { changingAccess } from "./authority.ts";
import { type Answered, discovered, idTokenOf } from "./oidc_client.ts";
import { applyChange, changeOf, isNothing, wordsIn } from "./provider_groups.ts";
import { openSession } from "./sessions.ts";
import { callbackUri, type Flow, flowView, note, ownFlow, strangerIn } from "./sso_flow_rows.ts";
import * as people from "./sso_users.ts";

export const Complete = z.strictObject({
  id: z.uuid(),
  secret: z.string().min(1, "Give the secret that start gave").max(128),
});

/** Opens a session for who the provider says it was. */
export async function complete(ctx: Ctx, { id, secret }: z.infer<typeof Complete>) {
  const named = flowNamedBy(secret);
  if (named?.flowId !== id.toLowerCase()) throw refused();
  const { tenantId } = named;
  const stranger = strangerIn(ctx, tenantId);
  const secretHash = await sha256(secret);
  const claim = await transact(stranger, (ctx) => claimed(ctx, named.flowId, secretHash));
  try {
    const server = await discovered(stranger, claim.provider.issuer);
    const told = toldIn(await idTokenOf(ctx, server, claim.answered), claim.provider);
    const userId = await settle(stranger, claim, told);
    const alongside = (ctx: TxCtx) => noteSignIn(ctx, claim, told.subject, userId);
    return await openSession(ctx, { tenantId, userId }, alongside);
  } catch (error) {
    const word = error instanceof Fault ? error.reason : "not_written";
    await fail(stranger, claim.flow, word).catch(() => {}); // It is used up in any case.
    throw error;
  }
}

/** A wrong secret and a flow that is none look alike. */
const refused = () =>
  new Fault("Unauthorized", "sso.refused", "This sign-in is not yours to finish: start again");

type Provider = people.Provider & {
  issuer: string;
  clientId: string;
  groupClaim: string | null;
  isOpen: boolean;
};
type Claim = { flow: Flow; provider: Provider; answered: Answered };

const providerView = {
  id: providers.id,
  issuer: providers.issuer,
  clientId: providers.clientId,
  groupClaim: providers.groupClaim,
  createsUsers: providers.createsUsers,
  linksUsers: providers.linksUsers,
  systemRole: providers.systemRole,
  isOpen: sql<boolean>`${providers.isActive} and tenant_is_open(${providers.tenantId})`,
};

/** Uses the flow up for this call, with all that the trade needs. */
async function claimed(ctx: TxCtx, id: string, secretHash: string): Promise<Claim> {
  const [row] = await ctx.db.select({
    flow: flowView,
    issuer: flows.issuer,
    nonce: flows.nonce,
    verifier: flows.codeVerifier,
    code: flows.code,
  }).from(flows)
    .where(and(ownFlow(ctx, id), eq(flows.secretHash, secretHash))).for("update");
  if (!row) throw refused();
  const { flow } = row;
  requireCoded(ctx, flow);
  const [held] = await ctx.db.select({ ...providerView, secret: providers.clientSecret })
    .from(providers).where(ownProvider(ctx, flow.identityProviderId));
  if (!held?.isOpen) throw outOfUse();
  const { secret, ...provider } = held;
  await ctx.db.update(flows).set({ state: "done", code: null }).where(ownFlow(ctx, id));
  return {
    flow,
    provider,
    answered: {
      clientId: provider.clientId,
      clientSecret: await ctx.secrets.open(ctx, at(providers.clientSecret, provider.id), secret),
      code: await ctx.secrets.open(ctx, at(flows.code, id), row.code ?? ""),
      issuer: row.issuer,
      verifier: await ctx.secrets.open(ctx, at(flows.codeVerifier, id), row.verifier),
      nonce: row.nonce,
      redirectUri: callbackUri(ctx),
    },
  };
}

const ownProvider = (ctx: TenantCtx, id: string) =>
  and(eq(providers.tenantId, ctx.tenantId), eq(providers.id, id));

const outOfUse = () =>
  new Fault("Forbidden", "sso.provider_inactive", "This identity provider is not in use any more");

/** Refuses a flow that cannot be finished now, saying what to do. */
function requireCoded(ctx: TenantCtx, { state, failure, expiresAt }: Flow) {
  if (state === "failed") throw conflict("sso.failed", `It failed (${failure}): start again`);
  if (state === "done") throw conflict("sso.used", "This sign-in was finished: start again");
  if (expiresAt <= ctx.now()) throw conflict("sso.expired", "It took too long: start again");
  if (state === "pending") {
    throw conflict("sso.pending", "The provider has not sent the person back yet");
  }
}

/** What the ID token says of a person, and the words of its group claim. */
type Told = { subject: people.Subject; words: Set<string> };

const toldIn = (claims: Awaited<ReturnType<typeof idTokenOf>>, provider: Provider): Told => ({
  subject: people.subjectOf(claims),
  words: wordsIn(claims, provider.groupClaim),
});

/**
 * Finds out who it is and brings their groups in line. Most who come are known and changed nothing:
 * they do not make everybody's rights be looked up anew.
 */
async function settle(ctx: TenantCtx, claim: Claim, { subject, words }: Told): Promise<string> {
  const known = await read(ctx, async (ctx) => {
    const one = await people.knownUser(ctx, claim.provider.id, subject);
    if (!one || one.isToShow) return null;
    const { userId } = one;
    return isNothing(await changeOf(ctx, claim.provider, userId, words)) ? userId : null;
  });
  if (known !== null) return known;
  return await transact(ctx, async (ctx) => {
    await changingAccess(ctx);
    const provider = await usable(ctx, claim);
    const one = await people.knownUser(ctx, provider.id, subject);
    const userId = one ? await people.show(ctx, one) : await people.welcome(ctx, provider, subject);
    await applyChange(ctx, userId, await changeOf(ctx, provider, userId, words));
    return userId;
  });
}

/** The provider as it is now, held so until the end. Its tokens are not another's. */
async function usable(ctx: TxCtx, { provider: { id, issuer, clientId } }: Claim) {
  const [provider] = await ctx.db.select(providerView).from(providers)
    .where(ownProvider(ctx, id)).for("share");
  if (!provider?.isOpen || provider.issuer !== issuer || provider.clientId !== clientId) {
    throw outOfUse();
  }
  return provider;
}

/** Written with the session itself: whoever was shut out meanwhile has none. */
async function noteSignIn(ctx: TxCtx, claim: Claim, subject: people.Subject, userId: string) {
  const { id } = await usable(ctx, claim);
  await people.noteSignIn(ctx, { providerId: id, userId }, subject);
  const [after] = await ctx.db.select(flowView).from(flows).where(ownFlow(ctx, claim.flow.id));
  await note(ctx, "sso.completed", claim.flow, one(after ? [after] : []), { userId });
}

const fail = (ctx: TenantCtx, flow: Flow, failure: string) =>
  transact(ctx, async (ctx) => {
    const after = one(
      await ctx.db.update(flows).set({ state: "failed", failure })
        .where(ownFlow(ctx, flow.id)).returning(flowView),
    );
    await note(ctx, "sso.failed", flow, after);
  });
