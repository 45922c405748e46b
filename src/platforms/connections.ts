/**
 * Connecting an account: OAuth 2 authorization code with PKCE, in three steps by two parties.
 *
 * `start` sends the person to the provider. The provider sends them back to `callback`, which knows
 * nobody and therefore only keeps the code. `complete`, by the same person's token, trades it: so
 * nobody can be made to bind another's account.
 */
import { and, eq, gt } from "drizzle-orm";
import * as oauth from "oauth4webapi";
import { v7 } from "uuid";
import { z } from "zod";
import { oauthFlows as flows, platformCredentials, platforms } from "../../db/schema/platforms.ts";
import { flowNamedBy, newFlowToken } from "../access/flow_tokens.ts";
import { asSystem, read, type Services, type TenantCtx, transact, type TxCtx } from "../context.ts";
import { conflict, Fault, invalid, notFound } from "../errors.ts";
import { sha256 } from "../idempotency.ts";
import { one } from "../rows.ts";
import { at } from "../secrets/places.ts";
import { name, scopes } from "../words.ts";
import { holderVersionOf, requireService } from "./binding_rows.ts";
import { activePlatform, type Platform } from "./catalogue.ts";
import { flowView, note, personOf } from "./connection_rows.ts";
import { directoryUrl } from "./directories.ts";
import { authorizationUrl, issuerOf } from "./provider_client.ts";
import { quirksOf } from "./quirks.ts";

export { Complete, complete } from "./completion.ts";

const FLOW_MS = 10 * 60_000;

export const Start = z.strictObject({
  serviceName: name("the service's name").optional(),
  platformId: z.uuid().optional(),
  redirectUri: z.string().max(2048, "Give at most 2,048 characters").optional(),
  scopes: scopes.optional(),
  loginHint: z.string().min(1).max(255, "Give at most 255 characters").optional(),
}).refine(
  ({ serviceName, platformId }) => (serviceName === undefined) !== (platformId === undefined),
  { path: ["serviceName"], error: "Give either the service's name or the platform's id" },
);
export const Started = z.object({
  id: z.uuid(),
  authorizationUrl: z.string().max(16_384),
  redirectUri: z.string().max(2048),
  expiresAt: z.date(),
});

/** Where to send the person so that the provider asks them. The state it carries works once. */
export async function start(ctx: TenantCtx, input: z.infer<typeof Start>) {
  const userId = personOf(ctx);
  await ctx.secrets.ready(ctx);
  return await transact(ctx, async (ctx) => {
    const platform = await connectable(ctx, input);
    const client = await clientOf(ctx, platform, userId);
    const quirks = quirksOf(platform.quirks);
    const redirectUri = redirectOf(input.redirectUri, client.redirectUris, callbackUri(ctx));
    const wanted = input.scopes ??
      (client.scopes.length > 0 ? client.scopes : platform.defaultScopes);
    const scopes = [...new Set([...wanted, ...quirks.requiredScopes])];
    const id = v7();
    const state = newFlowToken(ctx.tenantId, id);
    const [nonce, verifier] = [oauth.generateRandomNonce(), oauth.generateRandomCodeVerifier()];
    const flow = one(
      await ctx.db.insert(flows).values({
        id,
        tenantId: ctx.tenantId,
        ownerUserId: userId,
        platformId: platform.id,
        credentialId: client.id,
        stateHash: await sha256(state),
        codeVerifier: await ctx.secrets.seal(ctx, at(flows.codeVerifier, id), verifier),
        nonce,
        redirectUri,
        scopes,
        holderVersion: holderVersionOf(ctx, userId),
        expiresAt: new Date(ctx.now().getTime() + FLOW_MS),
      }).returning(flowView),
    );
    const { authUrl, clientId } = client;
    const loginHint = input.loginHint ?? null;
    const request = { authUrl, clientId, redirectUri, scopes, state, nonce, verifier, loginHint };
    const url = await authorizationUrl({ ...request, quirks });
    await note(ctx, "connection.started", null, flow);
    return { id, authorizationUrl: url, redirectUri, expiresAt: flow.expiresAt };
  });
}

export const callbackUri = ({ publicUrl }: Pick<Services, "publicUrl">) =>
  `${publicUrl}/api/v1/oauth/callback`;

async function connectable(
  ctx: TxCtx,
  { serviceName, platformId }: z.infer<typeof Start>,
): Promise<Platform> {
  const by = platformId === undefined ? { name: serviceName ?? "" } : { id: platformId };
  const platform = await activePlatform(ctx, by);
  if (!platform) throw notFound("platform", "PlatformNotFound");
  if (platform.authKind === "oauth2") return platform;
  const field = platformId === undefined ? "service_name" : "platform_id";
  throw invalid(field, `${platform.name} is not connected by OAuth 2: it wants a credential only`);
}

/** The OAuth client to ask with: the person's own where there is one in use, else the tenant's. */
async function clientOf(ctx: TxCtx, platform: Platform, userId: string) {
  const { credentialId, directory } = await requireService(ctx, platform.id, "Conflict");
  const columns = {
    id: platformCredentials.id,
    clientId: platformCredentials.clientId,
    authUrl: platformCredentials.authUrl,
    tokenUrl: platformCredentials.tokenUrl,
    redirectUris: platformCredentials.redirectUris,
    scopes: platformCredentials.scopes,
  };
  const usable = and(
    eq(platformCredentials.tenantId, ctx.tenantId),
    eq(platformCredentials.platformId, platform.id),
    eq(platformCredentials.kind, "oauth_client"),
    eq(platformCredentials.isActive, true),
  );
  const find = (which: ReturnType<typeof eq>) =>
    ctx.db.select(columns).from(platformCredentials).where(and(usable, which)).limit(1);
  const [personal] = await find(eq(platformCredentials.ownerUserId, userId));
  const [client = personal] = personal ? [] : await find(eq(platformCredentials.id, credentialId));
  if (!client) throw conflict("credential.inactive", "The service has no active OAuth credential");
  const authUrl = client.authUrl ?? directoryUrl(platform.authUrl, directory);
  if (authUrl === null || (client.tokenUrl ?? platform.tokenUrl) === null) {
    throw new Fault(
      "InvalidPlatformConfig",
      "platform.no_endpoints",
      `${platform.name} has no authorization and token addresses: set them first`,
    );
  }
  return { ...client, authUrl };
}

/** RFC 9700, 2.1: compared as strings, exactly. */
function redirectOf(given: string | undefined, known: string[], ours: string): string {
  const allowed = known.length === 0 ? [ours] : known;
  if (given === undefined) return allowed.find((uri) => uri === ours) ?? allowed[0] ?? ours;
  if (allowed.includes(given)) return given;
  throw invalid("redirect_uri", "Give one of the credential's redirect URIs, letter for letter");
}

/** What a provider sends a browser back with. */
export type Callback = {
  state: string;
  code: string | null;
  error: string | null;
  issuer: string | null;
};

/** Keeps the code, or why there is none, for `complete`. False: the state is not one that works. */
export async function callback(
  services: Services & { requestId: string },
  { state, code, error, issuer }: Callback,
): Promise<"kept" | "refused" | null> {
  const ids = flowNamedBy(state);
  if (!ids || (code === null) === (error === null)) return null;
  const { tenantId, flowId } = ids;
  const ctx: TenantCtx = {
    ...asSystem(services, tenantId),
    actor: { type: "anonymous", tenantId, id: null },
  };
  const waiting = and(
    eq(flows.tenantId, tenantId),
    eq(flows.id, flowId),
    eq(flows.stateHash, await sha256(state)),
    eq(flows.state, "pending"),
    gt(flows.expiresAt, ctx.now()),
  );
  const [flow] = await read(
    ctx,
    ({ db }) =>
      db.select({ ...flowView, metadata: platforms.metadata }).from(flows)
        .innerJoin(platforms, eq(platforms.id, flows.platformId)).where(waiting),
  );
  if (!flow || !isFrom(issuer, issuerOf(flow.metadata))) return null;
  return await transact(ctx, async (ctx) => {
    const [after] = await ctx.db.update(flows).set(
      code === null
        ? { state: "failed", failure: failureWord(error) }
        : { state: "coded", code: await ctx.secrets.seal(ctx, at(flows.code, flowId), code) },
    ).where(waiting).returning(flowView);
    if (!after) return null; // Another request with this state was first.
    const { metadata: _, ...before } = flow;
    const action = code === null ? "connection.failed" : "connection.authorized";
    await note(ctx, action, before, after);
    return code === null ? "refused" as const : "kept" as const;
  });
}

/** RFC 9207: an answer that names another issuer than the one asked is somebody else's. */
const isFrom = (said: string | null, known: string | null) =>
  said === null || known === null || said === known;

const failureWord = (error: string | null) =>
  /^[\w.:-]{1,64}$/.test(error ?? "") ? error : "provider_error";
