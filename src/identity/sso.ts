/**
 * Signing in at the tenant's identity provider: OpenID Connect's authorization code with PKCE, in
 * three steps by two parties.
 *
 * `start` says where to send the person and gives whoever began a secret. The provider sends the
 * person back to `callback`, which only keeps the code. `complete`, with the secret, trades it: so
 * nobody can be signed in to an account of somebody else's choice.
 */
import { and, eq, gt, sql } from "drizzle-orm";
import * as oauth from "oauth4webapi";
import { v7 } from "uuid";
import { z } from "zod";
import { identityProviders as providers, ssoFlows as flows } from "../../db/schema/sign_in.ts";
import { flowNamedBy, newFlowToken } from "../access/flow_tokens.ts";
import { digestOf, networkOf } from "../access/networks.ts";
import { type Ctx, read, type Services, transact } from "../context.ts";
import { Fault, invalid, notFound } from "../errors.ts";
import { sha256 } from "../idempotency.ts";
import { found, one } from "../rows.ts";
import { at } from "../secrets/places.ts";
import { normalised } from "./domains.ts";
import { authorizationUrl, discovered } from "./oidc_client.ts";
import { callbackUri, flowView, note, strangerIn } from "./sso_flow_rows.ts";
import { email } from "./users.ts";

export { Complete, complete } from "./sso_completion.ts";

const FLOW_MS = 10 * 60_000;
const perNetwork = { name: "sso-start", max: 30, windowSeconds: 60 };

export const Start = z.strictObject({
  identityProviderId: z.uuid("Give an identity provider's id").optional(),
  email: email.optional(),
  tenant: z.uuid("Give the tenant's id").optional(),
  returnTo: z.string().max(2048, "Give at most 2,048 characters").optional(),
}).refine(
  ({ identityProviderId, email, tenant }) =>
    [identityProviderId, email, tenant].filter((way) => way !== undefined).length === 1,
  { path: ["identityProviderId"], error: "Give an identity provider's id, an e-mail or a tenant" },
);
export const Started = z.object({
  id: z.uuid(),
  authorizationUrl: z.string().max(16_384),
  secret: z.string().max(128),
  expiresAt: z.date(),
});

/** Where to send the person, and the secret that `complete` asks for: it is for nobody else. */
export async function start(ctx: Ctx, input: z.infer<typeof Start>) {
  slowDown(ctx);
  const { tenantId, providerId } = await chosen(ctx, input);
  const stranger = strangerIn(ctx, tenantId);
  await ctx.secrets.ready(stranger);
  const columns = {
    issuer: providers.issuer,
    clientId: providers.clientId,
    scopes: providers.scopes,
    returnUris: providers.returnUris,
  };
  const mine = and(eq(providers.tenantId, tenantId), eq(providers.id, providerId));
  const provider = await read(
    stranger,
    async ({ db }) => found(await db.select(columns).from(providers).where(mine), NOUN),
  );
  // RFC 9700, 4.11: an address that is only like one of them leads somewhere else.
  if (input.returnTo !== undefined && !provider.returnUris.includes(input.returnTo)) {
    throw invalid("return_to", "Give one of the provider's return addresses, letter for letter");
  }
  const server = await discovered(stranger, provider.issuer);
  const id = v7();
  const [state, secret] = [newFlowToken(tenantId, id), newFlowToken(tenantId, id)];
  const [nonce, verifier] = [oauth.generateRandomNonce(), oauth.generateRandomCodeVerifier()];
  const url = await authorizationUrl(server, {
    ...{ ...provider, state, nonce, verifier },
    redirectUri: callbackUri(ctx),
    loginHint: input.email ?? null,
  });
  return await transact(stranger, async (ctx) => {
    const flow = one(
      await ctx.db.insert(flows).values({
        id,
        tenantId,
        identityProviderId: providerId,
        stateHash: await sha256(state),
        secretHash: await sha256(secret),
        nonce,
        codeVerifier: await ctx.secrets.seal(ctx, at(flows.codeVerifier, id), verifier),
        issuer: server.issuer,
        returnTo: input.returnTo ?? null,
        expiresAt: new Date(ctx.now().getTime() + FLOW_MS),
      }).returning(flowView),
    );
    await note(ctx, "sso.started", null, flow);
    return { id, authorizationUrl: url, secret, expiresAt: flow.expiresAt };
  });
}

const NOUN = "identity_provider";

function slowDown({ limiter, principal, address }: Ctx) {
  const who = principal ? `${principal.actor.type}:${principal.actor.id}` : networkOf(address);
  const verdict = limiter.take(perNetwork, digestOf(who));
  if (verdict.allowed) return;
  throw new Fault("RateLimited", "sso.too_often", "Too many attempts: wait a moment", {
    retryAfterSeconds: verdict.resetSeconds,
  });
}

/** The provider that is meant. A domain nobody has shown to be theirs is like one without a provider. */
async function chosen(ctx: Ctx, input: z.infer<typeof Start>) {
  const domain = input.email === undefined ? null : normalised(input.email.replace(/^.*@/s, ""));
  const { identityProviderId = null, tenant = null } = input;
  const rows = await ctx.database.query(
    sql`select * from sso_choices(${identityProviderId}::uuid, ${tenant}::uuid, ${domain}::text)`,
  );
  const choices = rows.map((row) => ({
    tenantId: String(row.tenant_id),
    providerId: String(row.id),
    name: String(row.name),
  }));
  const [first, ...others] = choices;
  if (!first) throw notFound(NOUN);
  if (others.length === 0) return first;
  const sentence = "Say which identity provider: send its id as identity_provider_id";
  throw new Fault("Conflict", "sso.several_providers", sentence, {
    fields: choices.map(({ providerId, name }) => ({
      field: "identity_provider_id",
      message: `${providerId} is ${name}`,
    })),
  });
}

/** What a provider sends a browser back with. */
export type Callback = {
  state: string;
  code: string | null;
  error: string | null;
  issuer: string | null;
};
/** What became of it, and where the browser goes on to, if the client said so. */
export type Landed = { word: "kept" | "refused"; goOnTo: string | null };

/** Keeps the code, or why there is none, for `complete`. Null: the state is not one that works. */
export async function callback(
  services: Services & { requestId: string },
  { state, code, error, issuer }: Callback,
): Promise<Landed | null> {
  const named = flowNamedBy(state);
  if (!named || (code === null) === (error === null)) return null;
  const { tenantId, flowId } = named;
  const stranger = strangerIn(services, tenantId);
  const waiting = and(
    eq(flows.tenantId, tenantId),
    eq(flows.id, flowId),
    eq(flows.stateHash, await sha256(state)),
    eq(flows.state, "pending"),
    gt(flows.expiresAt, services.now()),
    // RFC 9207: an answer that names another issuer than the one asked is somebody else's.
    issuer === null ? undefined : eq(flows.issuer, issuer),
  );
  return await transact(stranger, async (ctx) => {
    const [before] = await ctx.db.select(flowView).from(flows).where(waiting).for("update");
    if (!before) return null; // Another request with this state was first.
    const after = one(
      await ctx.db.update(flows).set({
        issuer,
        ...code === null
          ? { state: "failed", failure: failureWord(error) }
          : { state: "coded", code: await ctx.secrets.seal(ctx, at(flows.code, flowId), code) },
      }).where(waiting).returning(flowView),
    );
    await note(ctx, code === null ? "sso.failed" : "sso.authorized", before, after);
    return { word: code === null ? "refused" : "kept", goOnTo: goOnTo(after) };
  });
}

/** The client learns which sign-in is meant and nothing else: what opens it, it has. */
function goOnTo({ id, returnTo }: { id: string; returnTo: string | null }): string | null {
  if (returnTo === null) return null;
  const url = new URL(returnTo);
  url.searchParams.set("flow", id);
  return url.href;
}

const failureWord = (error: string | null) =>
  /^[\w.:-]{1,64}$/.test(error ?? "") ? error : "provider_error";
