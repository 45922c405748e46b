/** Addresses that must not be called however they are spelled, and names that change their mind. */

import assert from "node:assert/strict";
import { outbound, type RefusalReason, Refused, screen } from "../../src/outbound.ts";
import { certificateFor } from "./certificates.ts";
import { http, https } from "./servers.ts";

const refused = (reason: RefusalReason) => (error: unknown) =>
  error instanceof Refused && error.reason === reason;

/** `PORT` stands for that of a listener on this machine, which must stay untouched. */
const hostile: Record<string, RefusalReason> = {};
const as = (reason: RefusalReason, ...urls: string[]) => {
  for (const url of urls) hostile[url] = reason;
};

as(
  "private_address",
  ...["127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0x7f.1"],
  ...["0177.0.0.1", "0177.1", "017700000001", "0x7F.0x0.0x0.0x1", "00000177.0.0.1", "127.0.0.1."],
  ...["%31%32%37.0.0.1", "①②⑦.⓪.⓪.①", "127。0。0。1", "127．0．0．1", "127.0.0.1%2e"],
  ...["0.0.0.0", "0", "0x0", "127.255.255.254", "10.0.0.1", "172.16.0.1", "192.168.1.1"],
  ...["100.64.0.1", "100.100.100.200", "169.254.169.254", "0xa9fea9fe", "2852039166"],
  ...["0251.0376.0251.0376", "169.254.43518", "168.63.129.16", "192.0.0.192", "198.18.0.1"],
  ...["192.0.2.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"],
  ...["[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[0000:0000:0000::0001]", "[::ffff:127.0.0.1]"],
  ...["[::ffff:7f00:1]", "[::ffff:a9fe:a9fe]", "[::127.0.0.1]", "[::ffff:0:127.0.0.1]"],
  ...["[64:ff9b::127.0.0.1]", "[64:ff9b::a00:1]", "[64:ff9b:1::1]", "[2002:7f00:1::]"],
  ...["[2001:0:7f00:1::]", "[fc00::1]", "[fd00:ec2::254]", "[fe80::1]", "[fec0::1]", "[ff02::1]"],
  ...["[2001:db8::1]", "localhost", "LOCALHOST", "localhost.", "app.localhost", "ｌocalhost"],
  ...["metadata", "metadata.google.internal", "metadata.google.internal.", "instance-data"],
  ...["vault.internal", "printer.local", "db.svc.cluster.local", "nas.home.arpa", "kubernetes"],
);
for (const host of Object.keys(hostile)) {
  delete hostile[host];
  hostile[`https://${host}:PORT/`] = "private_address";
}
as(
  "scheme",
  "http://127.0.0.1:PORT/",
  "http://example.com/",
  "ftp://example.com/",
  "file:///etc/hosts",
);
as(
  "scheme",
  "gopher://example.com:70/_x",
  "data:text/plain,x",
  "javascript:1",
  "ws://example.com/",
);
as("scheme", "blob:https://example.com/1", "unix:/run/docker.sock", "HTTP://example.com/");
as("credentials_in_url", "https://user@example.com/", "https://:pass@example.com/");
as("credentials_in_url", "https://example.com@127.0.0.1:PORT/", "https://a:b@[::1]:PORT/");
as("port", "https://example.com:22/", "https://example.com:25/", "https://example.com:80/");
as("port", "https://example.com:0/", "https://example.com:6000/", "https://example.com:10080/");
as(
  "address",
  "",
  "//example.com",
  "https://",
  "https://[fe80::1%25eth0]/",
  "https://[::1",
  "https:",
);
as(
  "address",
  "https://1.2.3.4.5/",
  "https://256.256.256.256/",
  "https://exa mple.com/",
  "example.com",
);
as(
  "address",
  "https://[v1.fe80]/",
  "https://0x100000000/",
  "https://a%00b.com/",
  "https://x:65536/",
);

Deno.test("outbound refuses a hostile spelling without question or connection", async () => {
  await using server = await http((_req, res) => void res.end("you should not be here"));
  let questions = 0;
  const resolve = () => {
    questions++;
    return Promise.resolve(["127.0.0.1"]);
  };
  const call = outbound({ allowPrivateHosts: false, resolve });
  const entries = Object.entries(hostile);
  assert.ok(entries.length >= 100, `${entries.length}`);
  for (const [spelling, reason] of entries) {
    const url = spelling.replace("PORT", String(server.port));
    await assert.rejects(call(url), refused(reason), spelling);
    assert.throws(() => screen(url, { allowPrivateHosts: false }), refused(reason), spelling);
  }
  assert.equal(questions, 0);
  assert.equal(server.connections(), 0);
  // Positive control: the listener is there, and the guard is what stood before it.
  const open = outbound({ allowPrivateHosts: true });
  assert.equal((await open(`http://127.1:${server.port}/`)).status, 200);
});

Deno.test("outbound refuses a name with one private address among public ones", async () => {
  for (const inside of ["10.0.0.1", "::1", "fe80::1%eth0", "::ffff:127.0.0.1", "no address"]) {
    const resolve = () => Promise.resolve(["1.1.1.1", inside, "2606:4700::1"]);
    const call = outbound({ allowPrivateHosts: false, resolve });
    await assert.rejects(call("https://mixed.example/"), (error: unknown) => {
      assert.ok(error instanceof Refused && error.reason === "private_address");
      assert.equal(error.message, "mixed.example does not lead to the open internet");
      return true;
    });
  }
});

Deno.test("screen keeps a good address, drops the root dot and allows high ports", () => {
  const o = { allowPrivateHosts: false };
  assert.equal(screen("https://Example.com./a?b", o).href, "https://example.com/a?b");
  assert.equal(screen("https://example.com:8443/", o).port, "8443");
  assert.equal(screen("https://1.1.1.1/", o).hostname, "1.1.1.1");
  assert.equal(screen("https://[2606:4700:4700::1111]/", o).port, "");
  assert.equal(screen("http://localhost:80/", { allowPrivateHosts: true }).hostname, "localhost");
});

/** A production guard for which loopback is the open internet and everything else is inside. */
const guard = (ca: string, resolve: (host: string) => Promise<string[]>) =>
  outbound({ allowPrivateHosts: false, mayReach: (at) => at === "127.0.0.1", resolve, ca });

Deno.test("outbound connects to the address it checked although the name has moved", async () => {
  const pair = await certificateFor("provider.test");
  await using server = await https(pair, (req, res) => void res.end(req.headers.host));
  let asked = 0;
  const call = guard(pair.cert, () => Promise.resolve([asked++ === 0 ? "127.0.0.1" : "127.0.0.2"]));
  const url = `https://provider.test:${server.port}/`;
  assert.equal(await (await call(url)).text(), `provider.test:${server.port}`);
  assert.equal(asked, 1);
  await assert.rejects(call(url), refused("private_address"));
  assert.equal(server.connections(), 1);
});

Deno.test("outbound makes a fresh connection for every call", async () => {
  const pair = await certificateFor("provider.test");
  await using server = await https(pair, (_req, res) => {
    res.setHeader("connection", "keep-alive").end("ok");
  });
  let asked = 0;
  const call = guard(pair.cert, () => (asked++, Promise.resolve(["127.0.0.1"])));
  for (let i = 0; i < 3; i++) await (await call(`https://provider.test:${server.port}/`)).text();
  assert.deepEqual([asked, server.connections()], [3, 3]);
});

Deno.test("outbound tries the next checked address when one does not answer", async () => {
  const pair = await certificateFor("provider.test");
  await using server = await https(pair, (_req, res) => void res.end("ok"));
  const call = outbound({
    ...{ allowPrivateHosts: false, ca: pair.cert, mayReach: () => true },
    resolve: () => Promise.resolve(["127.0.0.3", "127.0.0.1"]),
  });
  assert.equal(await (await call(`https://provider.test:${server.port}/`)).text(), "ok");
});

Deno.test("outbound checks the certificate against the name that was asked for", async () => {
  const pair = await certificateFor("provider.test", "127.0.0.1");
  let requests = 0;
  await using server = await https(pair, (_req, res) => (requests++, void res.end("ok")));
  const resolve = () => Promise.resolve(["127.0.0.1"]);
  const at = (host: string) => `https://${host}:${server.port}/`;
  const call = guard(pair.cert, resolve);
  assert.equal(await (await call(at("provider.test"))).text(), "ok");
  assert.equal(await (await call(at("provider.test."))).text(), "ok");
  await assert.rejects(call(at("other.test")), /ERR_TLS_CERT_ALTNAME_INVALID/);
  const open = outbound({ allowPrivateHosts: true, ca: pair.cert });
  assert.equal(await (await open(at("127.0.0.1"))).text(), "ok");
  await assert.rejects(open(at("127.0.0.2")), refused("unreachable"));
  const stranger = (await certificateFor("provider.test")).cert;
  await assert.rejects(guard(stranger, resolve)(at("provider.test")), refused("unreachable"));
  const usual = outbound({ allowPrivateHosts: true, resolve });
  await assert.rejects(usual(at("provider.test")), /DEPTH_ZERO_SELF_SIGNED_CERT/);
  assert.equal(requests, 3);
});
