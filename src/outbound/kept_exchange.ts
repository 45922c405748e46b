/** One request and its answer over a connection that may serve others before and after it. */

import {
  type Answer,
  brokeOff,
  type Call,
  isBodiless,
  permit,
  type Pieces,
  tooLarge,
  unreachable,
} from "./answers.ts";
import { type Body, bodyOf } from "./bodies.ts";
import { type Connection, dial } from "./connections.ts";
import { type Bytes, type Head, readHead, requestBytes } from "./heads.ts";
import type { KeptConnections } from "./kept_connections.ts";
import { Refused } from "./screen.ts";

/** A call that can be sent again: its body is bytes. */
export type KeptCall = Call & {
  body: Uint8Array | null;
  /** Every address of the host, resolved and checked; asked when no connection is at rest. */
  addresses: () => Promise<readonly string[]>;
  /** What is waited for before any of it, the call written out already. */
  after: Promise<unknown> | undefined;
};

/** A call, the connection that is its own until it is finished, and where that goes then. */
type Turn = {
  call: KeptCall;
  /** It, as it is sent. */
  bytes: Bytes;
  connection: Connection;
  kept: KeptConnections;
  isSent: boolean;
  isFinished: boolean;
};

const begun = { isSent: false, isFinished: false };
const nothing: Bytes = new Uint8Array();

/** The far side ended a connection that was at rest before it said anything about this call. */
class WentStale extends Error {}

/**
 * Sends the call; resolves at the answer's headers.
 *
 * A far side may close a connection at rest at any moment, this one included. So a call that finds
 * no byte of an answer but the end is sent once more, over a fresh connection, whatever its method:
 * RFC 9110, 9.2.2 asks for a sign that a POST was not carried out, and that end is the only one HTTP
 * has; curl and browsers take it for one. A far side that carries out a request and dies before its
 * first byte does it twice: whoever cannot bear that does not keep connections.
 */
export async function keptExchange(call: KeptCall, kept: KeptConnections): Promise<Answer> {
  const { url, method, headers, body, after } = call;
  const target = url.pathname + url.search;
  const bytes = requestBytes({ method, target, host: url.host, headers, body });
  if (after) await call.patience.bound(after);
  const rested = kept.take(url.origin);
  if (rested !== undefined) {
    try {
      return await attempt({ call, bytes, connection: rested, kept, ...begun });
    } catch (error) {
      if (!(error instanceof WentStale)) throw error;
    }
  }
  const connection = await fresh(call);
  return await attempt({ call, bytes, connection, kept, ...begun }, { isFresh: true });
}

async function fresh(call: KeptCall): Promise<Connection> {
  const { patience, timeoutMs } = call;
  patience.wait(timeoutMs, "was not found");
  const addresses = await patience.bound(call.addresses());
  patience.wait(timeoutMs, "did not take the request");
  try {
    return await dial(call, addresses);
  } catch (cause) {
    throw patience.isOver ? patience.reason : unreachable(call, cause);
  }
}

async function attempt(turn: Turn, { isFresh = false } = {}): Promise<Answer> {
  const { call, connection } = turn;
  call.patience.whenOver(() => connection.close());
  try {
    const found = await answerTo(turn);
    // What some say who gave up waiting for a request, before this one came (RFC 9110, 15.5.9).
    if (!isFresh && found?.head.status === 408 && found.head.keepMs === 0) throw new WentStale();
    if (found !== null) return respond(turn, found.head, found.rest);
    throw Object.assign(new Error("it ended the connection"), { code: "ECONNRESET" });
  } catch (cause) {
    connection.close();
    if (call.patience.isOver) throw call.patience.reason;
    if (cause instanceof WentStale || !(isFresh || connection.hasHeard)) throw new WentStale();
    throw cause instanceof Refused ? cause : unreachable(call, cause);
  }
}

/** Writes and reads side by side: an answer may come before the request is through. */
function answerTo(turn: Turn) {
  const { call, bytes, connection } = turn;
  const { patience, timeoutMs } = call;
  patience.wait(timeoutMs, "did not take the request");
  const sent = () => {
    turn.isSent = true;
    if (!connection.hasHeard) patience.wait(timeoutMs, "did not answer");
  };
  // Who does not take a request may still have said why: what can be read decides.
  connection.write(bytes).then(sent, () => {});
  return readHead(() => connection.read());
}

function respond(turn: Turn, head: Head, rest: Bytes): Answer {
  const { call } = turn;
  const { status, headers, framing } = head;
  [turn.bytes, call.body] = [nothing, null]; // Not sent again; and what is answered may last.
  permit(call, status, framing.by === "length" ? framing.bytes : 0);
  if (isBodiless(call, status)) {
    // Some send a body nobody announced after all, above all to HEAD.
    const isSilent = call.method !== "HEAD" && rest.length === 0 &&
      (framing.by === "close" || (framing.by === "length" && framing.bytes === 0));
    finish(turn, isSilent ? head.keepMs : 0);
    return { status, headers, body: null };
  }
  const body = bodyOf(framing);
  const first = cut(body, rest, call);
  if (!body.isWhole || first.length > call.maxBytes) {
    return { status, headers, body: pieces(turn, head, body, first) };
  }
  finish(turn, body.hasSurplus ? 0 : head.keepMs);
  return { status, headers, body: first };
}

function cut(body: Body, bytes: Bytes, call: Call): Bytes {
  try {
    return body.take(bytes);
  } catch (cause) {
    throw brokeOff(call, cause);
  }
}

/**
 * The rest of the answer's body, read from the connection only when somebody wants more of it. A
 * reader that stays away ends the call like a far side that does.
 */
function pieces(turn: Turn, head: Head, body: Body, first: Bytes): Pieces {
  const { call, connection } = turn;
  const { patience, idleMs } = call;
  let [bytes, piece, isOver]: [number, Bytes | null, boolean] = [0, first, false];
  const more = async (): Promise<Bytes | null> => {
    for (;;) {
      const read = await connection.read();
      if (read === null) return null;
      const found = cut(body, read, call);
      if (found.length > 0 || body.isWhole) return found;
    }
  };
  const take = async () => {
    if (piece === null || piece.length === 0) {
      patience.wait(idleMs, "did not go on with its answer");
      piece = await more();
      if (patience.isOver) throw patience.reason;
      if (piece === null && !body.endsByClose) throw new Error("it ended the connection");
    }
    patience.wait(idleMs, "was not read on");
    bytes += piece?.length ?? 0;
    if (bytes > call.maxBytes) throw tooLarge(call);
    return piece;
  };
  patience.wait(idleMs, "was not read on");
  return {
    async next() {
      if (isOver) return null;
      try {
        const found = await take();
        piece = null;
        isOver = found === null || body.isWhole;
        if (isOver) finish(turn, body.isWhole && !body.hasSurplus ? head.keepMs : 0);
        return found === null || found.length === 0 ? null : found;
      } catch (cause) {
        const reason = patience.isOver ? patience.reason : cause;
        finish(turn, 0);
        throw patience.isOver || reason instanceof Refused ? reason : brokeOff(call, cause);
      }
    },
    cancel: () => finish(turn, 0),
  };
}

/**
 * Ends the call and gives its connection back, or closes it when another may not use it. Only once:
 * a body that is through can still be cancelled, and the connection may be another's by then.
 */
function finish(turn: Turn, keepMs: number) {
  if (turn.isFinished) return;
  turn.isFinished = true;
  const { call, connection, kept } = turn;
  call.patience.end();
  if (turn.isSent && keepMs > 0 && !connection.isClosed) {
    kept.give(call.url.origin, connection, keepMs);
  } else connection.close();
}
