/** The socket that `pg` is given: what it writes arrives whole and in order, and every end is told once. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { sql } from "drizzle-orm";
import { open } from "../../db/client.ts";
import { codesOf } from "../../db/failures.ts";
import { TcpStream } from "../../db/tcp_stream.ts";

import { until } from "../outbound/servers.ts";
import { freePort } from "../stand_ins/processes.ts";

/** Sends back what it is sent; `reads` are the pieces it came in. */
function echo(listener: Deno.Listener) {
  const reads: number[] = [];
  const conns: Deno.Conn[] = [];
  const serve = async () => {
    for await (const conn of listener) {
      conns.push(conn);
      const talk = async () => {
        const buffer = new Uint8Array(1 << 20);
        for (;;) {
          const count = await conn.read(buffer);
          if (count === null) return conn.close();
          reads.push(count);
          for (let at = 0; at < count;) at += await conn.write(buffer.subarray(at, count));
        }
      };
      talk().catch(() => {});
    }
  };
  serve().catch(() => {});
  return { reads, conns };
}

function heard(stream: TcpStream) {
  const told: string[] = [];
  const bytes: Buffer[] = [];
  stream.on("data", (piece: Buffer) => bytes.push(piece));
  for (const what of ["connect", "close"]) stream.on(what, () => told.push(what));
  stream.on("error", (error) => told.push(`error ${codesOf(error).join(" ")}`));
  return { told, text: () => Buffer.concat(bytes).toString() };
}

const tcp = () => Deno.listen({ hostname: "127.0.0.1", port: 0 });

Deno.test("what is written arrives whole and in order, what was corked in one piece", async () => {
  using listener = tcp();
  const { reads } = echo(listener);
  const stream = new TcpStream(60_000);
  const { told, text } = heard(stream);
  stream.connect(listener.addr.port, "127.0.0.1");
  await until(() => stream.writable);
  stream.cork();
  for (const word of ["bind ", "describe ", "execute ", "sync "]) stream.write(Buffer.from(word));
  stream.uncork();
  await until(() => text().length === 27);
  assert.deepEqual(reads, [27]);
  const long = Array.from({ length: 60_000 }, (_, n) => `${n},`).join("");
  for (let at = 0; at < long.length; at += 7_000) {
    stream.write(Buffer.from(long.slice(at, at + 7_000)));
  }
  const { promise, resolve } = Promise.withResolvers<void>();
  stream.write(Buffer.from("end"), resolve);
  await promise;
  await until(() => text().endsWith("end"));
  assert.equal(text(), `bind describe execute sync ${long}end`);
  stream.end();
  await until(() => told.includes("close"));
  assert.deepEqual(told, ["connect", "close"]);
  assert.equal(stream.writable, false);
});

Deno.test("a question that stays open ends its connection, and no answered one and no rest does", async () => {
  const ready = new Uint8Array([90, 0, 0, 0, 5, 73]); // ReadyForQuery, idle.
  const answers: [string, Uint8Array[], boolean][] = [
    ["nothing", [], true],
    ["a part", [new TextEncoder().encode("a row")], true],
    ["the end of it", [new TextEncoder().encode("a row"), ready], false],
    ["its end in two", [new Uint8Array([65, ...ready.slice(0, 2)]), ready.slice(2)], false],
    ["its end letter by letter", Array.from(ready, (byte) => new Uint8Array([byte])), false],
    ["the end of another", [ready.slice(2)], true],
  ];
  for (const [what, pieces, isLate] of answers) {
    using listener = tcp();
    const stream = new TcpStream(60);
    const { told, text } = heard(stream);
    let sent = 0;
    const answering = (async () => {
      const conn = await listener.accept();
      await conn.read(new Uint8Array(10));
      for (const piece of pieces) {
        await conn.write(piece);
        sent += piece.length;
        await until(() => text().length === sent); // Else two come as one.
      }
      return conn;
    })();
    stream.connect(listener.addr.port, "127.0.0.1");
    await until(() => stream.writable);
    stream.write(Buffer.from("question"));
    using _conn = await answering;
    if (isLate) await until(() => told.includes("close"));
    else await new Promise((go) => setTimeout(go, 300));
    const rest = isLate ? ["error ETIMEDOUT", "close"] : [];
    assert.deepEqual(told, ["connect", ...rest], what);
    stream.destroy();
  }
});

Deno.test("every end is told once: the far side's, our own, a refusal, a giving up", async () => {
  using listener = tcp();
  const { conns } = echo(listener);
  const left = new TcpStream(60_000);
  const far = heard(left);
  left.connect(listener.addr.port, "127.0.0.1");
  await until(() => conns.length === 1);
  conns[0]?.close();
  await until(() => far.told.includes("close"));
  left.destroy();
  assert.deepEqual(far.told, ["connect", "close"]);

  const refused = new TcpStream(60_000);
  const nobody = heard(refused);
  refused.connect(freePort(), "127.0.0.1");
  await until(() => nobody.told.length === 2);
  assert.deepEqual(nobody.told, ["error ECONNREFUSED", "close"]);

  const lost = new TcpStream(60_000);
  const nowhere = heard(lost);
  lost.connect(5432, "no.such.host.invalid");
  await until(() => nowhere.told.length === 2);
  assert.deepEqual(nowhere.told, ["error ENOTFOUND", "close"]);

  const late = new TcpStream(60_000);
  const given = heard(late);
  late.connect(listener.addr.port, "127.0.0.1");
  late.destroy(Object.assign(new Error("timeout expired"), { code: "ETIMEDOUT" }));
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.deepEqual(given.told, ["error ETIMEDOUT", "close"]);
});

Deno.test("a Unix socket is a way to a database too", async () => {
  const path = await Deno.makeTempFile();
  await Deno.remove(path);
  using listener = Deno.listen({ transport: "unix", path });
  echo(listener);
  const stream = new TcpStream(60_000);
  const { text } = heard(stream);
  stream.connect(path);
  await until(() => stream.writable);
  stream.write(Buffer.from("hello"));
  await until(() => text() === "hello");
  stream.destroy();
  await Deno.remove(path);
});

Deno.test("a database that is to be reached encrypted is not reached otherwise", async () => {
  for (const says of ["S", "N"]) {
    using listener = tcp();
    const asked = (async () => {
      const conn = await listener.accept();
      const buffer = new Uint8Array(1_024);
      await conn.read(buffer); // PostgreSQL, Frontend/Backend Protocol, SSLRequest.
      await conn.write(new TextEncoder().encode(says));
      const count = await conn.read(buffer);
      conn.close();
      return count && buffer[0];
    })();
    const url = `postgres://u:p@127.0.0.1:${listener.addr.port}/db?sslmode=verify-full`;
    const database = open(url);
    await assert.rejects(database.query(sql`select 1`));
    const HANDSHAKE = 22; // RFC 8446, section 5.1.
    assert.equal(await asked, says === "S" ? HANDSHAKE : null);
    await database.close();
  }
});
