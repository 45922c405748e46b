/** A mail server that keeps what it is given, and refuses or dawdles when it is told to. */
import { SMTPServer } from "smtp-server";

export type Letter = {
  /** The envelope's. */
  from: string;
  to: string[];
  /** As it came over the wire. */
  raw: string;
  /** By lower-case names, unfolded. A name that came twice has both values. */
  headers: Map<string, string[]>;
  text: string;
  isEncrypted: boolean;
  user: string | null;
};

export type Post = AsyncDisposable & {
  readonly port: number;
  readonly letters: Letter[];
  /** Messages begun, taken or not. */
  begun(): number;
};

export type PostOptions = {
  /** Offers STARTTLS, or speaks TLS from the first byte. */
  tls?: { cert: string; key: string; isImplicit?: boolean };
  login?: { user: string; pass: string };
  /** What it answers a message instead of taking it. */
  refusal?: (tried: number) => { code: number; words: string } | null;
  /** How long it thinks before it takes a message. */
  thinksMs?: number;
};

const header = /^([!-9;-~]+):[ \t]*(.*)$/;

function opened(raw: string) {
  const [head = "", ...rest] = raw.split("\r\n\r\n");
  const headers: Letter["headers"] = new Map();
  for (const line of head.replaceAll(/\r\n[ \t]+/g, " ").split("\r\n")) {
    const [, name = "", value = ""] = header.exec(line) ?? [];
    const key = name.toLowerCase();
    headers.set(key, [...headers.get(key) ?? [], value]);
  }
  const body = rest.join("\r\n\r\n");
  const [encoding] = headers.get("content-transfer-encoding") ?? [];
  return { headers, text: decoded(body, encoding ?? "7bit").replaceAll("\r\n", "\n") };
}

/** RFC 2045, 6.7 and 6.8. */
function decoded(body: string, encoding: string): string {
  if (encoding === "base64") {
    return new TextDecoder().decode(Uint8Array.fromBase64(body.replaceAll(/\s/g, "")));
  }
  if (encoding !== "quoted-printable") return body;
  const bytes = body.replaceAll("=\r\n", "")
    .replaceAll(/=([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  return new TextDecoder().decode(Uint8Array.from(bytes, (letter) => letter.charCodeAt(0)));
}

/** Listens on 127.0.0.1 until it is disposed of. */
export async function post(options: PostOptions = {}): Promise<Post> {
  const { tls, login, refusal, thinksMs = 0 } = options;
  const letters: Letter[] = [];
  const pauses = new Set<ReturnType<typeof setTimeout>>();
  let begun = 0;
  const server = new SMTPServer({
    logger: false,
    name: "mail.example",
    disabledCommands: [...tls ? [] : ["STARTTLS"], ...login ? [] : ["AUTH"]],
    ...(tls ? { cert: tls.cert, key: tls.key, secure: tls.isImplicit === true } : {}),
    allowInsecureAuth: true,
    disableReverseLookup: true,
    closeTimeout: 100,
    onAuth: ({ username, password }, _, answer) =>
      username === login?.user && password === login?.pass
        ? answer(null, { user: username })
        : answer(new Error("who are you?")),
    onData: (stream, session, answer) => {
      const tried = ++begun;
      const chunks: Uint8Array[] = [];
      stream.on("data", (chunk: Uint8Array) => chunks.push(chunk));
      stream.on("end", () => {
        const raw = new TextDecoder().decode(Uint8Array.from(chunks.flatMap((c) => [...c])));
        const refused = refusal?.(tried);
        const take = () => {
          if (refused) {
            return answer(Object.assign(new Error(refused.words), { responseCode: refused.code }));
          }
          const { mailFrom, rcptTo } = session.envelope;
          letters.push({
            from: mailFrom ? mailFrom.address : "",
            to: rcptTo.map(({ address }) => address),
            raw,
            ...opened(raw),
            isEncrypted: session.secure,
            user: session.user ? String(session.user) : null,
          });
          answer();
        };
        if (thinksMs === 0) return take();
        const pause = setTimeout(() => {
          pauses.delete(pause);
          take();
        }, thinksMs);
        pauses.add(pause);
      });
    },
  });
  server.on("error", () => {}); // A client that hangs up is what some tests are about.
  const { promise, resolve } = Promise.withResolvers<void>();
  const listener = server.listen(0, "127.0.0.1", resolve);
  await promise;
  const place = listener.address();
  if (place === null || typeof place === "string") throw new Error("no port");
  return {
    port: place.port,
    letters,
    begun: () => begun,
    async [Symbol.asyncDispose]() {
      for (const pause of pauses) clearTimeout(pause);
      const { promise, resolve } = Promise.withResolvers<void>();
      server.close(resolve);
      await promise;
    },
  };
}
