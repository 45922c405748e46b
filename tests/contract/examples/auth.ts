/** One good call of each procedure of signing in. */
import { totpCode } from "../../../src/access/totp.ts";
import { openSession } from "../../../src/identity/sessions.ts";
import type { House, Side } from "../house.ts";
import { fresh, type Make, nothing } from "./shape.ts";

export async function signedIn({ w }: House, { email, password, tenantId }: Side) {
  return await w.as(null, { address: fresh() }).identity.auth
    .signIn({ email, password, tenant: tenantId });
}

/** Somebody of the side with a session, as their token says they are. */
async function opened({ w }: House, { tenantId }: Side) {
  const { userId } = await w.person(tenantId, "member");
  const { accessToken, refreshToken } = await openSession(w.ctx(null), { tenantId, userId });
  const token = await w.process.tokens.read(accessToken, w.process.now());
  if (!token) throw new Error("A token of this moment does not hold");
  return { userId, accessToken, refreshToken, as: token.standee.principal };
}

/** Somebody of the side with a password. */
async function secured({ w }: House, { tenantId }: Side) {
  const password = `password ${crypto.randomUUID()}`;
  return { password, as: await w.person(tenantId, "member", { password }) };
}

/** The same, who has begun with an authenticator. */
async function begun(house: House, side: Side) {
  const who = await secured(house, side);
  const { password, as } = who;
  const { secret } = await house.w.as(as).identity.secondFactor.begin({ password });
  return { ...who, secret, code: totpCode(secret, house.w.process.now()) };
}

/** The same, who has gone on to the end. */
async function confirmed(house: House, side: Side) {
  const { as, password, code } = await begun(house, side);
  const { recoveryCodes } = await house.w.as(as).identity.secondFactor.confirm({ code });
  return { as, password, code: recoveryCodes[0] ?? "" };
}

const secondFactor: Record<string, Make> = {
  "identity.secondFactor.get": nothing,
  "identity.secondFactor.begin": async (...at) => {
    const { password, as } = await secured(...at);
    return { input: { password }, as, secrets: [password] };
  },
  "identity.secondFactor.confirm": async (...at) => {
    const { as, code, secret } = await begun(...at);
    return { input: { code }, as, secrets: [secret] };
  },
  "identity.secondFactor.disable": async (...at) => {
    const { as, password, code } = await confirmed(...at);
    return { input: { password, code }, as, secrets: [password, code] };
  },
  "identity.secondFactor.recoveryCodes": async (...at) => {
    const { as, code } = await confirmed(...at);
    return { input: { code }, as, secrets: [code] };
  },
  "identity.secondFactor.reset": async (...at) => ({
    input: { userId: (await begun(...at)).as.userId },
  }),
};

const sessions: Record<string, Make> = {
  "identity.sessions.list": async (...at) => ({
    input: { userId: (await opened(...at)).userId, isActive: true, limit: 5 },
  }),
  "identity.sessions.revoke": async (...at) => ({
    input: { id: (await opened(...at)).as.sessionId },
  }),
  "identity.sessions.revokeAll": async (...at) => ({
    input: { userId: (await opened(...at)).userId },
  }),
};

export const auth: Record<string, Make> = {
  "identity.auth.signIn": (_, { email, password, tenantId }) => ({
    input: { email, password, tenant: tenantId },
    secrets: [password],
  }),
  "identity.auth.refresh": async (...at) => {
    const { refreshToken } = await signedIn(...at);
    return { input: { refreshToken }, secrets: [refreshToken] };
  },
  "identity.auth.exchange": async (house, side) => {
    const { as, accessToken } = await opened(house, side);
    return { input: { tenantId: side.tenantId }, as, secrets: [accessToken] };
  },
  "identity.auth.signOut": async (...at) => {
    const { as, accessToken } = await opened(...at);
    return { input: {}, as, secrets: [accessToken] };
  },
  "identity.auth.signOutEverywhere": async (...at) => ({
    input: { exceptCurrent: false },
    as: (await opened(...at)).as,
  }),
  "identity.auth.revoke": async (...at) => {
    const { as, accessToken } = await opened(...at);
    return { input: { token: accessToken }, as, secrets: [accessToken] };
  },
  "identity.auth.changePassword": async (...at) => {
    const { as, password } = await secured(...at);
    const newPassword = `password ${crypto.randomUUID()}`;
    const input = { currentPassword: password, newPassword, exceptCurrent: true };
    return { input, as, secrets: [password, newPassword] };
  },
  "identity.auth.me": nothing,
  ...sessions,
  ...secondFactor,
};
