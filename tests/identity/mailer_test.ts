/** Messages leave over SMTP: to one address, encrypted, within a bound, and never into a log. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { type Env, EnvError, readEnv } from "../../src/env.ts";
import type { Log } from "../../src/log.ts";
import { deliver, type Mail, mailerOf } from "../../src/mailer.ts";
import { smtp, type SmtpOptions } from "../../src/mailer/smtp.ts";
import { Undelivered } from "../../src/mailer/undelivered.ts";
import { environment } from "../kit.ts";
import { certificateFor } from "../outbound/certificates.ts";
import { tcp } from "../outbound/servers.ts";
import { freePort } from "../stand_ins/processes.ts";
import { type Post, post } from "../stand_ins/smtp.ts";

const secret = `sbi_${crypto.randomUUID()}`;
const mail: Mail = {
  to: "ada@people.example",
  subject: "You are invited to Harbour Bakery",
  text: `The token is\n\n${secret}\n`,
};
const from = "Switchboard <no-reply@switchboard.example>";

const through = ({ port }: Pick<Post, "port">, more: Partial<SmtpOptions> = {}) =>
  smtp({ url: `smtp://127.0.0.1:${port}`, from, allowPlain: true, ...more });

/** The promise fails as Undelivered; answers with what. */
async function failure(sending: Promise<void>): Promise<Undelivered> {
  const error = await sending.then(() => null, (error: unknown) => error);
  assert.ok(error instanceof Undelivered, String(error));
  assert.ok(!error.message.includes(secret) && !String(error.stack).includes(secret));
  return error;
}

function notebook() {
  const lines: string[] = [];
  const log: Log = (level, message, more) =>
    void lines.push(JSON.stringify({ level, message, ...more }));
  return { lines, log };
}

const reached = await post();
Deno.test({
  name: "smtp needs the network and nothing else of the machine",
  permissions: { net: true, env: false, read: false, write: false, run: false, sys: false },
  fn: async () => {
    await through(reached)(mail);
    assert.equal(reached.letters.length, 1);
    await reached[Symbol.asyncDispose]();
  },
});

Deno.test("smtp hands a message over as it is written", async () => {
  await using server = await post({ login: { user: "a b", pass: "p@ss/word" } });
  const url = `smtp://a%20b:p%40ss%2Fword@127.0.0.1:${server.port}/`;
  const text = `Grüße aus der Bäckerei\n\n${secret}\n${"long ".repeat(100)}\n.\n`;
  await smtp({ url, from, allowPlain: true })({ ...mail, text });
  const [letter] = server.letters;
  assert.ok(letter);
  assert.deepEqual([letter.from, letter.to], ["no-reply@switchboard.example", [mail.to]]);
  assert.equal(letter.text.trimEnd(), text.trimEnd());
  assert.deepEqual(letter.headers.get("subject"), [mail.subject]);
  assert.deepEqual(letter.headers.get("from"), [from]);
  assert.deepEqual(letter.headers.get("to"), [mail.to]);
  assert.deepEqual(letter.headers.get("auto-submitted"), ["auto-generated"]);
  assert.equal(letter.user, "a b");
});

Deno.test("smtp with a wrong login fails for good", async () => {
  await using server = await post({ login: { user: "a", pass: "right" } });
  const url = `smtp://a:wrong@127.0.0.1:${server.port}`;
  const { why, isPassing } = await failure(smtp({ url, from, allowPlain: true })(mail));
  assert.match(why, /EAUTH/);
  assert.equal(isPassing, false);
  assert.equal(server.letters.length, 0);
});

Deno.test("smtp sends nothing in clear unless it was told that this will do", async () => {
  await using plain = await post();
  const { why } = await failure(through(plain, { allowPlain: false })(mail));
  assert.match(why, /ETLS/);
  assert.equal(plain.begun(), 0);
});

for (const isImplicit of [false, true]) {
  const name = isImplicit ? "smtps://" : "STARTTLS";
  Deno.test(`smtp over ${name} trusts no certificate that nobody signed`, async () => {
    const pair = await certificateFor("127.0.0.1");
    await using server = await post({ tls: { ...pair, isImplicit } });
    const url = `${isImplicit ? "smtps" : "smtp"}://127.0.0.1:${server.port}`;
    await failure(smtp({ url, from, allowPlain: false })(mail));
    assert.equal(server.begun(), 0);
    await smtp({ url, from, allowPlain: false, ca: pair.cert })(mail);
    assert.deepEqual(server.letters.map(({ isEncrypted }) => isEncrypted), [true]);
  });
}

Deno.test("smtp gives up on a server that is down, silent, slow or drips", async () => {
  const down = await failure(through({ port: freePort() })(mail));
  assert.ok(down.isPassing);
  await using silent = await tcp(() => {});
  await using slow = await post({ thinksMs: 60_000 });
  await using dripping = await tcp((socket) => {
    socket.write("220 mail.example\r\n");
    const drip = setInterval(() => socket.write("250-more\r\n"), 20); // Never quiet, never done.
    socket.on("close", () => clearInterval(drip));
  });
  for (const server of [silent, slow, dripping]) {
    const { isPassing } = await failure(through(server, { timeoutMs: 300 })(mail));
    assert.ok(isPassing);
  }
  for (const { open } of [silent, dripping]) {
    for (let tries = 0; open() > 0 && tries < 200; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assert.equal(open(), 0, "a connection stays open");
  }
});

Deno.test("smtp tells a refusal for good from one that passes, and repeats no word of either", async () => {
  for (const [code, isPassing] of [[550, false], [554, false], [421, true], [451, true]] as const) {
    await using server = await post({ refusal: () => ({ code, words: `no: ${secret}` }) });
    const refused = await failure(through(server)(mail));
    assert.equal(refused.isPassing, isPassing, String(code));
    assert.match(refused.why, new RegExp(String(code)));
  }
});

const evil = [
  "x@people.example\r\nBcc: thief@evil.example",
  "x@people.example\nSubject: hm",
  "x@people.example, thief@evil.example",
  "x@people.example>\r\nRCPT TO:<thief@evil.example",
  "<thief@evil.example> x@people.example",
  "thief@evil.example (x@people.example)",
  "a group: thief@evil.example;",
  '"x@people.example" <thief@evil.example>',
  "x@people.example\0",
  "x",
  "",
];

Deno.test("smtp writes to one plain address or not at all", async () => {
  await using server = await post();
  for (const to of evil) {
    const { isPassing } = await failure(through(server)({ ...mail, to }));
    assert.equal(isPassing, false);
  }
  assert.equal(server.begun(), 0);
  await through(server)({ ...mail, to: "o'neil+x@people.example" });
  assert.deepEqual(server.letters[0]?.to, ["o'neil+x@people.example"]);
});

Deno.test("no subject, name or text adds a header or a reader", async () => {
  await using server = await post();
  const line = fc.constantFrom(
    "\r\nBcc: thief@evil.example",
    "\nX-Evil: 1",
    "\r\n\r\nbody",
    "\u2028",
    "é",
    "\0",
  );
  const words = fc.array(fc.oneof(fc.string({ unit: "binary", maxLength: 20 }), line), {
    maxLength: 6,
  })
    .map((parts) => parts.join(""));
  const usual = ["auto-submitted", "content-transfer-encoding", "content-type", "date", "from"];
  const names = [...usual, "message-id", "mime-version", "subject", "to"];
  await fc.assert(
    fc.asyncProperty(words, words, words, async (subject, text, name) => {
      server.letters.length = 0;
      const sender = `${name.replaceAll(/[<>]/g, "")} <no-reply@switchboard.example>`;
      await through(server, { from: sender })({ ...mail, subject, text });
      const [letter] = server.letters;
      assert.deepEqual(letter?.to, [mail.to]);
      assert.equal(letter?.from, "no-reply@switchboard.example");
      assert.deepEqual([...letter?.headers.keys() ?? []].filter((key) => !names.includes(key)), []);
      assert.ok([...letter?.headers.values() ?? []].every((values) => values.length === 1));
    }),
    { numRuns: 30, verbose: 1 },
  );
});

Deno.test("smtp sends four at a time and keeps the rest waiting", async () => {
  await using server = await post({ thinksMs: 20 });
  const send = through(server);
  await Promise.all(Array.from({ length: 20 }, () => send(mail)));
  assert.equal(server.letters.length, 20);
});

Deno.test("deliver tries three times where that may help, then says so without the message", async () => {
  await using server = await post({ refusal: () => ({ code: 451, words: secret }) });
  const { lines, log } = notebook();
  await deliver({ mailer: through(server), log, requestId: "r-1" }, mail, [1, 1]);
  assert.equal(server.begun(), 3);
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? "", /"warn".*not sent.*r-1.*451.*"tries":3/);
  assert.ok(!lines.join().includes(secret) && !lines.join().includes(mail.to));
});

Deno.test("deliver ends with the first try that works, and with a refusal for good", async () => {
  await using passing = await post({
    refusal: (tried) => tried < 3 ? { code: 421, words: "later" } : null,
  });
  const { lines, log } = notebook();
  await deliver({ mailer: through(passing), log, requestId: "r" }, mail, [1, 1]);
  assert.deepEqual([passing.letters.length, lines.length], [1, 0]);
  await using closed = await post({ refusal: () => ({ code: 550, words: "no" }) });
  await deliver({ mailer: through(closed), log, requestId: "r" }, mail, [1, 1]);
  assert.deepEqual([closed.begun(), lines.length], [1, 1]);
});

Deno.test("deliver survives a mailer that throws anything, and repeats nothing of it", async () => {
  const { lines, log } = notebook();
  const mailers = [
    () => Promise.reject(new Error(secret)),
    () => {
      throw secret;
    },
  ];
  for (const mailer of mailers) await deliver({ mailer, log, requestId: "r" }, mail, [1]);
  assert.equal(lines.length, 2);
  assert.ok(!lines.join().includes(secret));
});

Deno.test("without a mail server a message is refused and told of once", async () => {
  const env: Env = await environment();
  const { lines, log } = notebook();
  await deliver({ mailer: mailerOf(env), log, requestId: "r" }, mail, [1]);
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? "", /"warn".*no mail server is set/);
});

Deno.test("mailerOf sends through the server the variables name", async () => {
  await using server = await post();
  const variables = { SMTP_URL: `smtp://127.0.0.1:${server.port}`, MAIL_FROM: "a@b.example" };
  await mailerOf(await environment(variables))(mail);
  assert.equal(server.letters[0]?.from, "a@b.example");
  const strict = mailerOf(await environment({ ...variables, ALLOW_PRIVATE_HOSTS: "0" }));
  assert.match((await failure(strict(mail))).why, /ETLS/);
});

Deno.test("readEnv takes both mail variables or neither, and only what can work", async () => {
  const all = await environment();
  const good = { SMTP_URL: "smtps://u:p%40@mail.example:465", MAIL_FROM: from };
  const complaint = (more: Record<string, string>) => {
    try {
      readEnv({
        DATABASE_URL: all.DATABASE_URL,
        PUBLIC_URL: all.PUBLIC_URL,
        SIGNING_KEYS: JSON.stringify(all.SIGNING_KEYS),
        ENCRYPTION_KEYS: all.ENCRYPTION_KEYS,
        ...more,
      });
      return "";
    } catch (error) {
      assert.ok(error instanceof EnvError);
      return error.message;
    }
  };
  assert.equal(complaint(good), "");
  assert.equal(complaint({}), "");
  assert.match(complaint({ SMTP_URL: good.SMTP_URL }), /MAIL_FROM is not set\. Set both/);
  assert.match(complaint({ MAIL_FROM: from }), /SMTP_URL is not set\. Set both/);
  const urls = ["mail.example", "http://mail.example", "smtp://", "smtp://h/path", "smtp://h?a=1"];
  for (const SMTP_URL of urls) {
    assert.match(complaint({ ...good, SMTP_URL }), /SMTP_URL is not right/, SMTP_URL);
  }
  const senders = ["nobody", "a@b, c@d", "A <a@b> <c@d>", "A\r\nBcc: x@y <a@b>", "<a@b", "a b@c"];
  for (const MAIL_FROM of senders) {
    assert.match(complaint({ ...good, MAIL_FROM }), /MAIL_FROM is not right/, MAIL_FROM);
  }
});
