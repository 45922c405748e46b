/**
 * Finishing a connection: the person who started it trades the code for tokens and has a binding.
 *
 * One completer at a time, claimed in the flow's row. A process that dies between asking the
 * provider and writing leaves a flow that ends by its expiry: the code is used up, so start again.
 */
import { and, eq, ne } from "drizzle-orm";
import { v7 } from "uuid";
import { z } from "zod";
import { oauthFlows as flows, userPlatformBindings as table } from "../../db/schema/platforms.ts";
import { type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, Fault, invalid } from "../errors.ts";
import { sha256 } from "../idempotency.ts";
import { found, one } from "../rows.ts";
import { at } from "../secrets/places.ts";
import { Secret } from "../secrets/secret.ts";
import * as rows from "./binding_rows.ts";
import { type Flow, flowView, note, personOf } from "./connection_rows.ts";
import {
  accountOf,
  type Exchange,
  exchangeCode,
  type Provider,
  providerOf,
  revokeAtProvider,
} from "./provider_client.ts";
import { asFailure, type Granted, type ProviderFailure } from "./token_answers.ts";

const CALL_MS = 20_000;

export const Complete = z.strictObject({
  id: z.uuid(),
  /** With a redirect URI of the client's own it passes on what the provider sent there. */
  code: z.string().min(1).max(4096).optional(),
  state: z.string().min(1).max(256).optional(),
}).refine(({ code, state }) => (code === undefined) === (state === undefined), {
  path: ["state"],
  error: "Give code and state together, or neither",
});

/** Makes the binding. Repeated, it answers the same binding; another's flow does not exist. */
export async function complete(ctx: TenantCtx, input: z.infer<typeof Complete>) {
  await ctx.secrets.ready(ctx);
  const claim = await transact(ctx, (ctx) => claimed(ctx, input));
  if ("done" in claim) return claim.done;
  const { flow, provider, exchange } = claim;
  let tokens: Tokens;
  try {
    const granted = await exchangeCode(ctx, provider, exchange, CALL_MS);
    const account = granted.subject ??
      await accountOf(ctx, provider, granted.accessToken, CALL_MS);
    tokens = { ...granted, account };
  } catch (error) {
    const failed = asFailure(error);
    await fail(ctx, flow, failed.word);
    throw faultOf(failed);
  }
  try {
    return await transact(ctx, (ctx) => bind(ctx, flow, tokens));
  } catch (error) {
    await revokeAtProvider(ctx, provider, tokens.refreshToken ?? tokens.accessToken);
    const reason = error instanceof Fault ? error.reason : "not_written";
    await fail(ctx, flow, reason).catch(() => {}); // Without it the flow ends by its expiry.
    throw error;
  }
}

type Tokens = Granted & { account: string | null };
type Claim = { done: rows.Binding } | { flow: Flow; provider: Provider; exchange: Exchange };

const own = (ctx: TenantCtx, id: string) =>
  and(eq(flows.tenantId, ctx.tenantId), eq(flows.id, id), eq(flows.ownerUserId, personOf(ctx)));

/** Takes the flow for this call, with all that the exchange needs. */
async function claimed(ctx: TxCtx, { id, code, state }: z.infer<typeof Complete>): Promise<Claim> {
  const secret = { stateHash: flows.stateHash, sealed: flows.code, verifier: flows.codeVerifier };
  const holder = rows.holderVersionOf(ctx, personOf(ctx));
  const { stateHash, sealed, verifier, nonce, holder: now, ...flow } = found(
    await ctx.db.select({ ...flowView, ...secret, nonce: flows.nonce, holder }).from(flows)
      .where(own(ctx, id)).for("update"),
    "connection",
  );
  if (flow.state === "completed") return { done: await bindingOf(ctx, flow.bindingId) };
  requireOpen(ctx, flow, code !== undefined);
  if (state !== undefined && await sha256(state) !== stateHash) {
    throw invalid("state", "This state does not belong to this connection");
  }
  if (flow.holderVersion !== now) throw strangers();
  await rows.requireService(ctx, flow.platformId, "Conflict");
  await ctx.db.update(flows).set({ state: "completing", code: null }).where(own(ctx, id));
  return {
    flow,
    provider: await providerOf(ctx, flow),
    exchange: {
      code: code === undefined
        ? await ctx.secrets.open(ctx, at(flows.code, id), sealed ?? "")
        : new Secret(code),
      verifier: await ctx.secrets.open(ctx, at(flows.codeVerifier, id), verifier),
      nonce,
      redirectUri: flow.redirectUri,
      scopes: flow.scopes,
    },
  };
}

/** Whoever was sent to the provider may have been another. */
const strangers = () =>
  conflict(
    "connection.holder_changed",
    "How you sign in was changed meanwhile: start the connection again",
  );

/** Refuses a flow that cannot be completed now, saying what to do. */
function requireOpen(ctx: TenantCtx, flow: Flow, hasCode: boolean) {
  if (flow.state === "failed") {
    throw conflict("connection.failed", `It failed (${flow.failure}): start the connection again`);
  }
  if (flow.expiresAt <= ctx.now()) {
    throw conflict("connection.expired", "It took too long: start the connection again");
  }
  if (flow.state === "completing") {
    throw new Fault("Conflict", "connection.completing", "It is being completed", {
      retryAfterSeconds: 2,
    });
  }
  if (flow.state === "pending" && !hasCode) {
    throw conflict("connection.pending", "The provider has not sent the person back yet");
  }
  if (flow.state === "coded" && hasCode) {
    throw conflict("connection.authorized", "The code is here already: leave code and state out");
  }
}

async function bindingOf(ctx: TxCtx, id: string | null): Promise<rows.Binding> {
  const mine = and(rows.own(ctx, id ?? ""), eq(table.ownerUserId, personOf(ctx)));
  return found(await ctx.db.select(rows.bindingView).from(table).where(mine), "binding");
}

/** Writes the binding and ends the flow, if the service is still in use. */
async function bind(ctx: TxCtx, flow: Flow, tokens: Tokens): Promise<rows.Binding> {
  const before = await sameAccount(ctx, flow, tokens.account) ?? null;
  const after = before
    ? await renewed(ctx, flow, before, tokens)
    : await inserted(ctx, flow, tokens);
  // The link now holds the platform's row. Was it or the service taken out of use meanwhile?
  await rows.requireService(ctx, flow.platformId, "Conflict");
  const done = await ctx.db.update(flows).set({ state: "completed", bindingId: after.id })
    .where(and(own(ctx, flow.id), eq(flows.state, "completing"))).returning({ id: flows.id });
  if (done.length === 0) throw conflict("connection.lost", "It was ended meanwhile: start again");
  await rows.note(ctx, "binding.connected", after, {
    before: before && await rows.trailOf(ctx, before),
    after: await rows.trailOf(ctx, after),
    data: { externalUserId: after.externalUserId, scopes: after.scopes, connectionId: flow.id },
  });
  return rows.viewOf(after);
}

/** The person's binding of this very account, held until the end of the transaction. */
async function sameAccount(ctx: TxCtx, flow: Flow, account: string | null) {
  if (account === null) return undefined;
  const [row] = await ctx.db.select(rows.sealedBinding).from(table)
    .where(and(
      eq(table.tenantId, ctx.tenantId),
      eq(table.ownerUserId, flow.userId),
      eq(table.platformId, flow.platformId),
      eq(table.externalUserId, account),
      ne(table.state, "revoked"),
    )).for("update");
  return row;
}

async function renewed(ctx: TxCtx, flow: Flow, before: rows.SealedBinding, tokens: Tokens) {
  const { refreshToken, ...others } = await rows.sealedTokens(ctx, before.id, tokens);
  // Some providers answer a refresh token only the first time; another client's would not work.
  const keepsOld = refreshToken === null && before.credentialId === flow.credentialId;
  return one(
    await ctx.db.update(table).set({
      ...others,
      ...keepsOld ? {} : { refreshToken },
      credentialId: flow.credentialId,
      holderVersion: flow.holderVersion,
      scopes: tokens.scopes ?? flow.scopes,
      tokenVersion: before.tokenVersion + 1,
    }).where(rows.own(ctx, before.id)).returning(rows.sealedBinding),
  );
}

async function inserted(ctx: TxCtx, flow: Flow, tokens: Tokens): Promise<rows.SealedBinding> {
  const id = v7();
  const [made] = await ctx.db.insert(table).values({
    id,
    tenantId: ctx.tenantId,
    ownerUserId: flow.userId,
    platformId: flow.platformId,
    credentialId: flow.credentialId,
    holderVersion: flow.holderVersion,
    externalUserId: tokens.account,
    scopes: tokens.scopes ?? flow.scopes,
    ...await rows.sealedTokens(ctx, id, tokens),
  }).onConflictDoNothing().returning(rows.sealedBinding);
  if (made) return made;
  // The same account was connected twice at once, and the other was first.
  const other = await sameAccount(ctx, flow, tokens.account);
  if (!other) throw conflict("connection.lost", "The account was changed meanwhile: start again");
  return await renewed(ctx, flow, other, tokens);
}

const fail = (ctx: TenantCtx, flow: Flow, failure: string) =>
  transact(ctx, async (ctx) => {
    const [after] = await ctx.db.update(flows).set({ state: "failed", failure })
      .where(and(own(ctx, flow.id), eq(flows.state, "completing"))).returning(flowView);
    if (after) await note(ctx, "connection.failed", flow, after);
  });

function faultOf({ kind, word, message }: ProviderFailure): Fault {
  const reason = `provider.${word}`;
  if (kind === "client") {
    return new Fault("CredentialValidation", reason, `${message}: check the service's credential`);
  }
  if (word === "timeout") {
    return new Fault("ProviderTimeout", reason, "The provider did not answer: start again");
  }
  return new Fault("ProviderError", reason, `${message}: start the connection again`);
}
