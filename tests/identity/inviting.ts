/** People who invite, and strangers who accept. */
import { v7 } from "uuid";
import { elsewhere, type Login } from "./house.ts";
import { type Mailed, newEmail } from "./people.ts";

export const password = "correct horse battery";

export function inviting(h: Mailed) {
  const stage = async () => {
    const tenantId = await h.tenantBelow();
    const owner = await h.login(tenantId, { role: "owner" });
    const admin = await h.login(tenantId, { role: "admin" });
    return { tenantId, owner, admin };
  };
  const invite = async (who: Login, more: Record<string, unknown> = { systemRole: "member" }) => {
    const email = newEmail();
    const invitation = await h.identity(who).invitations.create({ email, ...more });
    return { email, id: invitation.id, invitation, token: h.tokenTo(email) };
  };
  /** Each time from a network of its own. */
  const accept = (token: string, more: Record<string, unknown> = {}) =>
    h.send("/invitations/accept", { token, display_name: "Ada Okafor", password, ...more }, {
      address: elsewhere(),
    });
  /** `401 invitation.refused`: what a token came to. */
  const outcome = async (token: string) => {
    const { status, body } = await accept(token);
    return `${status} ${body.reason ?? ""}`.trim();
  };
  const group = async (tenantId: string) => {
    const id = v7();
    await h.sql("insert into groups (tenant_id, id, name) values ($1, $2, $3)", [tenantId, id, id]);
    return id;
  };
  return { stage, invite, accept, outcome, group };
}
