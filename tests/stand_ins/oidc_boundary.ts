/** The part of `oidc-provider` we use, which comes without types, and the storage it asks for. */
import type { IncomingMessage, ServerResponse } from "node:http";

export interface Context {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly path: string;
  readonly method: string;
  readonly querystring: string;
  readonly oidc?: { readonly params?: Readonly<Record<string, unknown>> };
  status: number;
  body: unknown;
  type: string;
  respond: boolean;
  get(header: string): string;
  set(header: string, value: string): void;
  redirect(url: string): void;
}

export interface Grant {
  addOIDCScope(scope: string): void;
  addOIDCClaims(claims: string[]): void;
  save(): Promise<string>;
}

export interface Interaction {
  readonly prompt: {
    readonly name: string;
    readonly details: {
      readonly missingOIDCScope?: string[];
      readonly missingOIDCClaims?: string[];
    };
  };
  readonly grantId?: string;
  readonly session?: { readonly accountId: string };
  readonly params: Readonly<Record<string, unknown>>;
}

export interface AccessToken {
  readonly accountId: string;
  readonly clientId: string;
  readonly scope?: string;
}

export interface Provider {
  readonly AccessToken: { find(token: string): Promise<AccessToken | undefined> };
  readonly Grant: {
    new (of: { accountId: string; clientId: string }): Grant;
    find(id: string): Promise<Grant | undefined>;
  };
  use(middleware: (context: Context, next: () => Promise<void>) => Promise<void>): void;
  callback(): (request: IncomingMessage, response: ServerResponse) => void;
  on(event: "grant.revoked", listener: (context: Context, grantId: string) => void): void;
  on(
    event: "grant.error" | "server_error",
    listener: (context: Context, error: Error & { error_detail?: string }) => void,
  ): void;
  interactionDetails(request: IncomingMessage, response: ServerResponse): Promise<Interaction>;
  interactionResult(
    request: IncomingMessage,
    response: ServerResponse,
    result: Record<string, unknown>,
  ): Promise<string>;
}

/** Imported late and quietly, for the package warns about every runtime that is not Node. */
export async function newProvider(issuer: string, setup: object): Promise<Provider> {
  const { warn } = console;
  console.warn = () => {};
  try {
    const library: { Provider: new (issuer: string, setup: object) => Provider } = await import(
      "oidc-provider"
    );
    return new library.Provider(issuer, setup);
  } finally {
    console.warn = warn;
  }
}

interface Payload {
  [name: string]: unknown;
  grantId?: string;
  uid?: string;
  userCode?: string;
  accountId?: string;
  consumed?: number;
}

/** Keeps everything, unlike the package's own memory, which forgets all but 1,000 entries. */
export class Storage {
  readonly #kept = new Map<string, { payload: Payload; expiresAt: number }>();

  /** What `oidc-provider` wants: an adapter for each kind of thing it stores. */
  readonly adapter = (model: string) => ({
    upsert: (id: string, payload: Payload, seconds?: number) =>
      Promise.resolve(this.put(model, id, payload, seconds)),
    find: (id: string) => Promise.resolve(this.#live(`${model}:${id}`)),
    findByUid: (uid: string) => Promise.resolve(this.#where(model, (one) => one.uid === uid)),
    findByUserCode: (code: string) =>
      Promise.resolve(this.#where(model, (one) => one.userCode === code)),
    consume: (id: string) => {
      const kept = this.#kept.get(`${model}:${id}`);
      if (kept) kept.payload.consumed = Math.floor(Date.now() / 1000);
      return Promise.resolve();
    },
    destroy: (id: string) => Promise.resolve(void this.#kept.delete(`${model}:${id}`)),
    revokeByGrantId: (grantId: string) =>
      Promise.resolve(
        this.#forget((one, key) => key.startsWith(`${model}:`) && one.grantId === grantId),
      ),
  });

  put(model: string, id: string, payload: Payload, seconds?: number) {
    const expiresAt = seconds === undefined ? Infinity : Date.now() + seconds * 1000;
    this.#kept.set(`${model}:${id}`, { payload: { ...payload }, expiresAt });
  }

  /** Forgets the account's consent and every token that came from it. */
  revokeAccount(accountId: string): void {
    this.#forget((one, key) => one.accountId === accountId && !key.startsWith("Client:"));
  }

  #live(key: string): Payload | undefined {
    const kept = this.#kept.get(key);
    return kept && kept.expiresAt > Date.now() ? { ...kept.payload } : undefined;
  }

  #where(model: string, matches: (payload: Payload) => boolean): Payload | undefined {
    for (const [key, { payload }] of this.#kept) {
      if (key.startsWith(`${model}:`) && matches(payload)) return this.#live(key);
    }
    return undefined;
  }

  #forget(matches: (payload: Payload, key: string) => boolean): void {
    for (const [key, { payload }] of this.#kept) {
      if (matches(payload, key)) this.#kept.delete(key);
    }
  }
}
