/** One good call of each procedure of people. */
import { newLinkToken } from "../../../src/access/link_tokens.ts";
import type { Principal } from "../../../src/context.ts";
import type { House, Side } from "../house.ts";
import { fresh, type Make, secret } from "./shape.ts";

const newcomer = () => ({ email: `${fresh()}@people.example`, displayName: `Ada ${fresh()}` });

const user = ({ w }: House, { boss }: Side) =>
  w.as(boss).identity.users.create({ ...newcomer(), systemRole: "member", password: secret() });

const invitation = ({ w }: House, { boss }: Side) =>
  w.as(boss).identity.invitations.create({ email: newcomer().email, systemRole: "member" });

/** An invitation whose token is known: the one that was sent is nowhere but in the message. */
async function invited(house: House, side: Side) {
  const { id } = await invitation(house, side);
  const token = await newLinkToken("invitation", { tenantId: side.tenantId, id });
  await house.superuser("update invitations set token_hash = $1 where id = $2", [token.hash, id]);
  return token.text;
}

async function forgotten(house: House, side: Side) {
  const { id } = await user(house, side);
  await house.w.as(side.boss).identity.users.resetPassword({ id });
  const [reset] = await house.superuser(
    "select id from password_resets where owner_user_id = $1",
    [id],
  );
  const token = await newLinkToken("passwordReset", {
    tenantId: side.tenantId,
    id: String(reset?.id),
  });
  await house.superuser("update password_resets set token_hash = $1 where owner_user_id = $2", [
    token.hash,
    id,
  ]);
  return { id, token: token.text };
}

const somebody = ({ tenantId }: Side, id: string | null): Principal => ({
  actor: { type: id ? "user" : "anonymous", tenantId, id },
  tenantId,
  userId: id,
  sessionId: null,
  grants: {},
});

const foreignIdType = ({ w }: House, { boss }: Side) =>
  w.as(boss).identity.foreignIdTypes.create({ name: `payroll ${fresh()}`, description: "Number" });

async function foreignId(house: House, side: Side) {
  const { id } = await user(house, side);
  const { id: typeId } = await foreignIdType(house, side);
  const { foreignIds } = house.w.as(side.boss).identity;
  return await foreignIds.create({ id, typeId, value: `E${fresh()}` });
}

const users: Record<string, Make> = {
  "identity.users.create": () => {
    const password = secret();
    return { input: { ...newcomer(), systemRole: "member", password }, secrets: [password] };
  },
  "identity.users.get": async (...at) => ({ input: { id: (await user(...at)).id } }),
  "identity.users.update": async (...at) => ({
    input: { id: (await user(...at)).id, ...newcomer(), metadata: { floor: fresh() } },
  }),
  "identity.users.deactivate": async (...at) => ({ input: { id: (await user(...at)).id } }),
  "identity.users.activate": async (house, side) => {
    const { id } = await user(house, side);
    await house.w.as(side.boss).identity.users.deactivate({ id });
    return { input: { id } };
  },
  "identity.users.resetPassword": async (...at) => ({ input: { id: (await user(...at)).id } }),
  "identity.users.list": async (...at) => ({
    input: { email: (await user(...at)).email, status: "active", limit: 5 },
  }),
};

const invitations: Record<string, Make> = {
  "identity.invitations.create": () => ({
    input: { email: newcomer().email, systemRole: "member", expiresInSeconds: 86_400 },
  }),
  "identity.invitations.get": async (...at) => ({ input: { id: (await invitation(...at)).id } }),
  "identity.invitations.resend": async (...at) => ({
    input: { id: (await invitation(...at)).id },
  }),
  "identity.invitations.revoke": async (...at) => ({
    input: { id: (await invitation(...at)).id },
  }),
  "identity.invitations.list": async (...at) => ({
    input: { email: (await invitation(...at)).email, limit: 5 },
  }),
  "identity.invitations.accept": async (house, side) => {
    const [token, password] = [await invited(house, side), secret()];
    const input = { token, displayName: "Ada Okafor", password };
    return { input, as: somebody(side, null), secrets: [token, password] };
  },
};

const passwordResets: Record<string, Make> = {
  "identity.passwordResets.request": async (house, side) => {
    const { email } = await user(house, side);
    // Whoever knows the address may ask: it stands in for a proof, and nobody must hear it back.
    const secrets = [String(email)];
    return { input: { email, tenant: side.tenantId }, as: somebody(side, null), secrets };
  },
  "identity.passwordResets.confirm": async (house, side) => {
    const { id, token } = await forgotten(house, side);
    const password = secret();
    return { input: { token, password }, as: somebody(side, id), secrets: [token, password] };
  },
};

const foreignIds: Record<string, Make> = {
  "identity.foreignIdTypes.create": () => ({ input: { name: `payroll ${fresh()}` } }),
  "identity.foreignIdTypes.delete": async (...at) => ({
    input: { id: (await foreignIdType(...at)).id },
  }),
  "identity.foreignIdTypes.list": () => ({ input: { limit: 5 } }),
  "identity.foreignIds.create": async (...at) => ({
    input: {
      id: (await user(...at)).id,
      typeId: (await foreignIdType(...at)).id,
      value: `E${fresh()}`,
    },
  }),
  "identity.foreignIds.delete": async (...at) => ({ input: { id: (await foreignId(...at)).id } }),
  "identity.foreignIds.list": async (...at) => {
    const { typeId, value } = await foreignId(...at);
    return { input: { typeId, value, limit: 5 } };
  },
  "identity.foreignIds.listOfUser": async (...at) => ({
    input: { id: (await foreignId(...at)).ownerUserId, limit: 5 },
  }),
};

export const people: Record<string, Make> = {
  ...users,
  ...invitations,
  ...passwordResets,
  ...foreignIds,
};
