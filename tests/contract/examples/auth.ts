/** One good call of each procedure of signing in. */
import type { House, Side } from "../house.ts";
import { fresh, type Make, nothing } from "./shape.ts";

export async function signedIn({ w }: House, { email, password, tenantId }: Side) {
  return await w.as(null, { address: fresh() }).identity.auth
    .signIn({ email, password, tenant: tenantId });
}

export const auth: Record<string, Make> = {
  "identity.auth.signIn": (_, { email, password, tenantId }) => ({
    input: { email, password, tenant: tenantId },
    secrets: [password],
  }),
  "identity.auth.refresh": async (...at) => {
    const { refreshToken } = await signedIn(...at);
    return { input: { refreshToken }, secrets: [refreshToken] };
  },
  "identity.auth.signOut": async (house, side) => {
    const { accessToken } = await signedIn(house, side);
    const { tokens, now } = house.w.process;
    const as = (await tokens.read(accessToken, now()))?.standee.principal;
    return { input: {}, ...(as ? { as } : {}), secrets: [accessToken] };
  },
  "identity.auth.me": nothing,
};
