/** One request and its answer over one fresh connection to an address that was checked before. */

import { type ClientRequest, type IncomingMessage, request as plainRequest } from "node:http";
import { request as tlsRequest } from "node:https";
import { connect as connectPlain, isIP, type LookupFunction } from "node:net";
import { connect as connectTls } from "node:tls";
import {
  brokeOff,
  type Call,
  isBodiless,
  maxHeaderBytes,
  type Pairs,
  permit,
  responseOf,
  tooLarge,
  unreachable,
} from "./answers.ts";
import { bareHost, Refused } from "./screen.ts";

/** A call over a connection of its own; `addresses` are connected to in order and nothing else is. */
export type SingleCall = Call & { addresses: readonly string[] };

/** Sends the call; resolves at the answer's headers, with its body as a stream. */
export async function exchange(call: SingleCall): Promise<Response> {
  const { patience } = call;
  const req = open(call);
  // A destroyed request reports its end once more; whoever called was told already.
  req.on("error", () => {});
  patience.signal.addEventListener("abort", () => req.destroy(), { once: true });
  try {
    const answered = answerTo(req, call);
    const sent = send(req, call);
    // An answer may come before the request is through, which then goes on beside it.
    const answer = await patience.bound(Promise.race([answered, sent.then(() => answered)]));
    sent.catch(() => finish(call, req));
    return respond(call, req, answer);
  } catch (error) {
    req.destroy();
    throw error;
  }
}

function open(call: SingleCall): ClientRequest {
  const { url } = call;
  const options = {
    path: url.pathname + url.search,
    method: call.method,
    headers: { ...Object.fromEntries(call.headers), host: url.host },
    maxHeaderSize: maxHeaderBytes,
  };
  // Without an agent there is no pool and no resumed session that could skip `lookup`; and Deno's
  // https agent wants `--allow-sys` for the root certificates, which `connectTls` does not.
  if (url.protocol === "http:") {
    const address = { ...target(call), port: Number(url.port || 80) };
    return plainRequest({ ...options, createConnection: () => connectPlain(address) });
  }
  const address = { ...target(call), port: Number(url.port || 443) };
  const tls = {
    ALPNProtocols: ["http/1.1"],
    ...(isIP(address.host) === 0 ? { servername: address.host } : {}),
    ...(call.ca === undefined ? {} : { ca: call.ca }),
  };
  return tlsRequest({ ...options, createConnection: () => connectTls({ ...address, ...tls }) });
}

const target = (call: SingleCall) => ({ host: bareHost(call.url), lookup: pinned(call.addresses) });

/** A `lookup` that asks nobody. */
function pinned(addresses: readonly string[]): LookupFunction {
  const found = addresses.map((address) => ({ address, family: isIP(address) }));
  return (_host, options, done) => {
    const [first] = found;
    if (options.all || first === undefined) done(null, found);
    else done(null, first.address, first.family);
  };
}

function answerTo(req: ClientRequest, call: Call): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    req.once("response", resolve);
    req.on("error", (cause) => reject(unreachable(call, cause)));
  });
}

/** Writes the body at the far side's pace; fails only when the body itself does. */
async function send(req: ClientRequest, call: Call): Promise<void> {
  let answered = false;
  req.once("response", () => answered = true);
  const wait = (what: string) => answered || call.patience.wait(call.timeoutMs, what);

  req.once("finish", () => wait("did not answer"));
  wait("did not take the request");
  if (!(call.body instanceof ReadableStream)) {
    req.end(call.body ?? undefined);
    return;
  }
  req.flushHeaders();
  const reader = call.body.getReader();
  req.once("close", () => void reader.cancel().catch(() => {}));
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    if (!req.write(next.value)) await drained(req);
    wait("did not take the request");
  }
  req.end();
}

/** Resolves when more may be written, or never will be. */
const drained = (req: ClientRequest) =>
  new Promise<void>((resolve) => {
    const go = () => {
      req.off("drain", go).off("close", go);
      resolve();
    };
    req.on("drain", go).on("close", go);
  });

function respond(call: Call, req: ClientRequest, answer: IncomingMessage): Response {
  const status = answer.statusCode ?? 0;
  permit(call, status, Number(answer.headers["content-length"] ?? 0));
  const headers: Pairs = [];
  for (let i = 0; i + 1 < answer.rawHeaders.length; i += 2) {
    headers.push([answer.rawHeaders[i] ?? "", answer.rawHeaders[i + 1] ?? ""]);
  }
  const isEmpty = isBodiless(call, status);
  const response = responseOf(call, isEmpty ? null : stream(call, req, answer), {
    status,
    headers,
  });
  if (isEmpty) finish(call, req);
  return response;
}

/**
 * The answer's body, read from the socket only when somebody wants more of it. A reader that
 * stays away ends the call like a far side that does, so that no connection is held for ever.
 */
function stream(call: Call, req: ClientRequest, answer: IncomingMessage) {
  const { patience, idleMs } = call;
  const chunks: AsyncIterator<Uint8Array> = answer[Symbol.asyncIterator]();
  let bytes = 0;
  const next = async () => {
    patience.wait(idleMs, "did not go on with its answer");
    const chunk = await patience.bound(chunks.next());
    patience.wait(idleMs, "was not read on");
    bytes += chunk.done ? 0 : chunk.value.byteLength;
    if (bytes > call.maxBytes) throw tooLarge(call);
    return chunk;
  };
  patience.wait(idleMs, "was not read on");
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const chunk = await next();
        if (!chunk.done) return controller.enqueue(plain(chunk.value));
        finish(call, req);
        controller.close();
      } catch (cause) {
        finish(call, req);
        throw patience.isOver || cause instanceof Refused ? cause : brokeOff(call, cause);
      }
    },
    cancel: () => finish(call, req),
  }, { highWaterMark: 0 });
}

/** A Buffer without Node's own ideas of `slice` and `toString`. */
const plain = (chunk: Uint8Array) =>
  new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);

function finish(call: Call, req: ClientRequest) {
  call.patience.end();
  req.destroy();
}
