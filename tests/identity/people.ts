/** A home whose messages are kept, and people with their sign-ins, tokens and keys. */
import assert from "node:assert/strict";
import { v7 } from "uuid";
import type { Permission } from "../../src/access/permissions.ts";
import type { Principal } from "../../src/context.ts";
import type { Mail } from "../../src/mailer.ts";
import { type Ground, home, type Login } from "./house.ts";

export const newEmail = () => `${v7()}@people.example`;

export async function mailed(ground?: Ground) {
  const h = await home(ground);
  const letters: Mail[] = [];
  Object.assign(h.w.process, {
    mailer: (mail: Mail) => {
      letters.push(mail);
      return Promise.resolve();
    },
  });
  const lettersTo = (email: string) => letters.filter(({ to }) => to === email);
  /** The token of the last message to an address. */
  const tokenTo = (email: string): string => {
    const [token] = lettersTo(email).at(-1)?.text.match(/sb[ip]_\S+/) ?? [];
    assert.ok(token, `no token went to ${email}`);
    return token;
  };
  const identity = (who: Principal | null) => h.w.as(who).identity;

  const signIn = async ({ email, password, tenantId }: Login) => {
    const answer = await h.send("/auth/sign-in", { email, password, tenant: tenantId });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    return { access: String(answer.body.access_token), refresh: String(answer.body.refresh_token) };
  };
  /** A key of somebody's, as it acts. */
  const keyOf = async (who: Login, scopes: Permission[]) => {
    const { key, apiKey } = await identity(who).apiKeys.create({ name: "a key", scopes });
    const actor = { type: "key" as const, tenantId: who.tenantId, id: apiKey.id };
    const grants = Object.fromEntries(scopes.map((scope) => [scope, "tenant" as const]));
    const as: Principal = { ...who, actor, grants };
    return { key, id: apiKey.id, as };
  };
  const asks = (headers: Record<string, string>) =>
    h.send("/auth/me", null, { method: "GET", headers }).then(({ status }) => status);
  /** Everything the database, the log and the trail hold, as text. */
  const everythingKept = async () => {
    const tables = ["audit_entries", "events", "invitations", "password_resets", "users"];
    const rows = await Promise.all(
      tables.map((table) => h.sql(`select to_jsonb(t)::text as text from ${table} t`)),
    );
    return [...rows.flat().map(({ text }) => String(text)), ...h.lines].join("\n");
  };
  return { ...h, letters, lettersTo, tokenTo, identity, signIn, keyOf, asks, everythingKept };
}
export type Mailed = Awaited<ReturnType<typeof mailed>>;

export const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
