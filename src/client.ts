/**
 * The typed client a TypeScript user imports: every procedure with its types, a session that renews
 * itself, and failures as plain errors with a code.
 *
 * ```ts
 * const api = await signIn("http://localhost:8787", { email, password });
 * const { platforms } = await api.trpc.platforms.services.list.query({});
 * ```
 */
import {
  createTRPCClient,
  httpBatchLink,
  httpSubscriptionLink,
  splitLink,
  type TRPCClient,
  TRPCClientError,
} from "@trpc/client";
import { EventSource } from "eventsource";
import superjson from "superjson";
import type { AppRouter } from "../routers/mod.ts";

export type { AppRouter };
export type Session = { accessToken: string; refreshToken: string; expiresAt: number };

export type Client = {
  trpc: TRPCClient<AppRouter>;
  /** The session as it is now, to be kept by a program that restarts; null with an API key. */
  session(): Session | null;
  /**
   * The same person in another tenant, at or below their own: its token is exchanged for theirs now
   * and whenever it is about to end. Fails where they may do nothing, and with an API key.
   */
  actIn(tenantId: string): Promise<Client>;
};

export type ClientOptions = {
  /** Told whenever the session was renewed, so that it can be kept. */
  onSession?: (session: Session) => void;
  fetch?: NonNullable<Parameters<typeof httpBatchLink>[0]["fetch"]>;
};

/** What a refusal says: `code` and `reason` are stable, `fields` name what is not right. */
export type Refusal = {
  code: string;
  reason: string;
  fields: { field: string; message: string }[];
};

/** The refusal inside an error of the client, or null when it is another kind of failure. */
export function refusalOf(error: unknown): Refusal | null {
  if (!(error instanceof TRPCClientError)) return null;
  const fault: unknown = error.data?.fault;
  if (typeof fault !== "object" || fault === null || !("code" in fault)) return null;
  return fault as Refusal; // The kernel's error formatter writes it; see routers/trpc.ts.
}

/** A minute before its end a token is renewed, so that none runs out under way. */
const AHEAD_MS = 60_000;

type Answer = { accessToken: string; refreshToken: string; expiresIn: number };
const sessionOf = ({ accessToken, refreshToken, expiresIn }: Answer): Session => ({
  accessToken,
  refreshToken,
  expiresAt: Date.now() + expiresIn * 1000,
});

function connect(url: string, options: ClientOptions, authorization?: () => Promise<string>) {
  const headers = async (): Promise<Record<string, string>> =>
    authorization ? { authorization: await authorization() } : {};
  const to = { url: `${url.replace(/\/$/, "")}/trpc`, transformer: superjson };
  return createTRPCClient<AppRouter>({
    links: [
      splitLink({
        condition: ({ type }) => type === "subscription",
        // The built-in one sends no header, and a token does not belong into an address.
        true: httpSubscriptionLink({
          ...to,
          EventSource,
          eventSourceOptions: async () => {
            const own = await headers();
            return {
              fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...own } }),
            };
          },
        }),
        false: httpBatchLink({
          ...to,
          maxItems: 20,
          maxURLLength: 8_000, // Longer ones are split up; proxies on the way refuse them.
          ...(options.fetch ? { fetch: options.fetch } : {}),
          headers,
        }),
      }),
    ],
  });
}

type Held = { accessToken: string; expiresAt: number };

/** Answers a token that holds, renewed ahead of its end once for however many ask at once. */
function renewing(current: () => Held, renew: () => Promise<void>): () => Promise<string> {
  let running: Promise<void> | null = null;
  return async () => {
    if (current().expiresAt - Date.now() < AHEAD_MS) {
      running ??= renew().finally(() => running = null);
      await running.catch((error: unknown) => {
        // A network that is away for a moment does no harm to a token that still holds.
        if (refusalOf(error) || Date.now() >= current().expiresAt) throw error;
      });
    }
    return `Bearer ${current().accessToken}`;
  };
}

/** A client over a session from before. However many calls run at once, one of them renews it. */
export function resume(url: string, session: Session, options: ClientOptions = {}): Client {
  let current = session;
  const stranger = connect(url, options);
  const renew = async () => {
    const { refreshToken } = current;
    current = sessionOf(await stranger.identity.auth.refresh.mutate({ refreshToken }));
    options.onSession?.(current);
  };
  const trpc = connect(url, options, renewing(() => current, renew));
  return { trpc, session: () => current, actIn: acting(url, trpc, options) };
}

/** Makes `actIn` for whoever `home` calls as: it is always their own token that is exchanged. */
function acting(url: string, home: Client["trpc"], options: ClientOptions): Client["actIn"] {
  const actIn: Client["actIn"] = async (tenantId) => {
    const exchanged = async (): Promise<Held> => {
      const answer = await home.identity.auth.exchange.mutate({ tenantId });
      const { accessToken, expiresIn } = answer;
      return { accessToken, expiresAt: Date.now() + expiresIn * 1000 };
    };
    let current = await exchanged();
    const renew = async () => {
      current = await exchanged();
    };
    const trpc = connect(url, options, renewing(() => current, renew));
    return { trpc, session: () => null, actIn };
  };
  return actIn;
}

/** `tenant` when one e-mail is known in several; a code or a recovery code when one is asked for. */
export type Credentials = {
  email: string;
  password: string;
  tenant?: string;
  totp?: string;
  recoveryCode?: string;
};

/** Signs in with e-mail and password. */
export async function signIn(
  url: string,
  credentials: Credentials,
  options: ClientOptions = {},
): Promise<Client> {
  const answer = await connect(url, options).identity.auth.signIn.mutate(credentials);
  const session = sessionOf(answer);
  options.onSession?.(session);
  return resume(url, session, options);
}

/** A client for a program, with an API key. */
export function withApiKey(url: string, apiKey: string, options: ClientOptions = {}): Client {
  const trpc = connect(url, options, () => Promise.resolve(`Bearer ${apiKey}`));
  return { trpc, session: () => null, actIn: acting(url, trpc, options) };
}
