/**
 * Who an issuer's subject is here. Who was linked once is known by the subject alone; for everybody
 * else only an e-mail counts that the provider has verified, in a domain the tenant has verified.
 */
import { and, eq } from "drizzle-orm";
import type { IDToken } from "oauth4webapi";
import { users, userSecurity } from "../../db/schema/identity.ts";
import { userIdentities as table } from "../../db/schema/sign_in.ts";
import type { TxCtx } from "../context.ts";
import { Fault } from "../errors.ts";
import { post } from "../mailer.ts";
import { name } from "../words.ts";
import { isVerifiedDomain } from "./domains.ts";
import { type Ended, showEmail } from "./holders.ts";
import { admit, email as emailWord, noteUser } from "./users.ts";

/** What an ID token says of a person, as far as it may be believed. */
export type Subject = {
  subject: string;
  /** Null unless the provider says, as a boolean, that it has verified it. */
  email: string | null;
  displayName: string | null;
};

/** Throws ProviderError for a subject that is none. */
export function subjectOf(claims: IDToken): Subject {
  // OpenID Connect Core, 2: at most 255 ASCII characters.
  if (!/^[\x20-\x7e]{1,255}$/.test(claims.sub)) {
    throw new Fault(
      "ProviderError",
      "identity_provider.bad_subject",
      "The identity provider does not say who you are in a way that can be kept",
    );
  }
  // Letters beyond ASCII fold into others (the Kelvin sign into k): that is another mailbox.
  const isPlain = typeof claims.email === "string" && /^[\x21-\x7e]+$/.test(claims.email);
  const email = emailWord.safeParse(isPlain ? claims.email : null);
  const displayName = name().safeParse(claims.name);
  return {
    subject: claims.sub,
    email: claims.email_verified === true && email.success ? email.data : null,
    displayName: displayName.success ? displayName.data : null,
  };
}

export type Provider = {
  id: string;
  createsUsers: boolean;
  linksUsers: boolean;
  systemRole: string | null;
};

export type Known = { userId: string; isToShow: boolean };

/**
 * The user a subject was linked to, whatever their e-mails are by now, and whether the provider is
 * the first to show that theirs is. Throws Forbidden for who is not active, or in doubt.
 */
export async function knownUser(ctx: TxCtx, providerId: string, subject: Subject) {
  const [row] = await linked(ctx, providerId, subject);
  return row ? await known(ctx, row, subject) : null;
}

type Linked = Awaited<ReturnType<typeof linked>>[number];

async function known(ctx: TxCtx, row: Linked, { email }: Subject): Promise<Known> {
  requireActive(row.status);
  const isNamed = email !== null && email === row.email &&
    await isVerifiedDomain(ctx, domainOf(email));
  if (row.isDoubted && !isNamed) throw readdressed();
  return { userId: row.userId, isToShow: isNamed && !row.isEmailShown };
}

const domainOf = (email: string) => email.replace(/^.*@/s, "");

const readdressed = () =>
  new Fault(
    "Forbidden",
    "sso.email_changed",
    "Your e-mail here was changed and is not the one your identity provider names: " +
      "ask whoever runs the tenant",
  );

const linked = (ctx: TxCtx, providerId: string, { subject }: Subject) =>
  ctx.db.select({
    id: table.id,
    userId: users.id,
    status: users.status,
    email: users.email,
    isEmailShown: users.isEmailShown,
    isDoubted: table.isDoubted,
  }).from(table)
    .innerJoin(users, and(eq(users.tenantId, table.tenantId), eq(users.id, table.ownerUserId)))
    .where(and(
      eq(table.tenantId, ctx.tenantId),
      eq(table.identityProviderId, providerId),
      eq(table.subject, subject),
    ));

function requireActive(status: string) {
  if (status === "active") return;
  throw new Fault(
    "Forbidden",
    "sso.user_inactive",
    "Your account here is not active: ask whoever runs the tenant",
  );
}

const unknown = () =>
  new Fault(
    "Forbidden",
    "sso.not_known",
    "Your identity provider knows you, but nobody here does: ask whoever runs the tenant",
  );

const systemIn = (ctx: TxCtx): TxCtx => ({
  ...ctx,
  actor: { type: "system", tenantId: ctx.tenantId, id: null },
});

/** Links a new subject to the user with its e-mail, or to one it makes. Under `changingAccess`. */
export async function welcome(ctx: TxCtx, provider: Provider, subject: Subject): Promise<string> {
  const { email } = subject;
  if (email === null || !await isVerifiedDomain(ctx, domainOf(email))) throw unknown();
  const [user] = await ctx.db.select({ id: users.id, status: users.status, kind: users.kind })
    .from(users).where(and(eq(users.tenantId, ctx.tenantId), eq(users.email, email)))
    .for("share");
  if (user ? !provider.linksUsers || user.kind !== "person" : !provider.createsUsers) {
    throw unknown();
  }
  if (user) requireActive(user.status);
  const asSystem = systemIn(ctx);
  const ownerUserId = user?.id ?? await madeUser(asSystem, provider, { ...subject, email });
  const ended = await shown(ctx, ownerUserId);
  await ctx.db.insert(table).values({
    tenantId: ctx.tenantId,
    ownerUserId,
    identityProviderId: provider.id,
    subject: subject.subject,
    lastSignInAt: ctx.now(),
  });
  await noteUser(asSystem, "user.linked", null, {
    id: ownerUserId,
    identityProviderId: provider.id,
    subject: subject.subject,
    ...ended,
  }, { identityProviderId: provider.id, ...ended });
  if (user) {
    post(ctx, {
      to: email,
      subject: "You can sign in at your organisation's identity provider",
      text: "Your account was linked to you there: from now on it lets you in.\n\n" +
        "If it was not you, ask an administrator of your organisation.\n",
    });
  }
  return ownerUserId;
}

/** Where nobody had shown that the e-mail is theirs before, a password from then may be another's. */
async function shown(ctx: TxCtx, userId: string): Promise<Ended | null> {
  const ended = await showEmail(ctx, userId);
  if (!ended) return null;
  await ctx.db.update(userSecurity).set({ passwordHash: null })
    .where(and(eq(userSecurity.tenantId, ctx.tenantId), eq(userSecurity.id, userId)));
  return ended;
}

/** The same for who was linked already, written down. */
export async function show(ctx: TxCtx, { userId, isToShow }: Known): Promise<string> {
  const ended = isToShow ? await shown(ctx, userId) : null;
  if (!ended) return userId;
  await noteUser(systemIn(ctx), "user.email_shown", null, { id: userId, ...ended }, ended);
  return userId;
}

/** Whoever set the provider up held the role it gives. */
async function madeUser(
  ctx: TxCtx,
  { systemRole }: Provider,
  { email, displayName }: { email: string; displayName: string | null },
): Promise<string> {
  const { id } = await admit(ctx, {
    email,
    displayName: displayName ?? email.slice(0, 255),
    systemRole,
    passwordHash: null,
    isEmailShown: true,
  });
  return id;
}

/** The same user still, held active until the session stands. */
export async function noteSignIn(
  ctx: TxCtx,
  { providerId, userId }: { providerId: string; userId: string },
  subject: Subject,
) {
  const [row] = await linked(ctx, providerId, subject).for("share", { of: users });
  if (row?.userId !== userId) throw unknown();
  await known(ctx, row, subject);
  await ctx.db.update(table).set({ lastSignInAt: ctx.now(), isDoubted: false })
    .where(and(eq(table.tenantId, ctx.tenantId), eq(table.id, row.id)));
}
