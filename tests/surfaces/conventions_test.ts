import assert from "node:assert/strict";
import fc from "fast-check";
import { snake } from "../../src/wire_names.ts";
import { parseDate, plain, platformApi, styleOf } from "../../routers/conventions.ts";

Deno.test("snake spells names as the documents do", () => {
  const names = { clientId: "client_id", oauth2Url: "oauth2_url", id: "id", line1: "line1" };
  for (const [key, name] of Object.entries(names)) assert.equal(snake(key), name);
});

Deno.test("parseDate reads RFC 3339 and YYYYMMDDHHMMSS, real moments only", () => {
  const moments: Record<string, string | null> = {
    "2026-11-22T10:11:12Z": "2026-11-22T10:11:12.000Z",
    "2026-11-22t10:11:12.5z": "2026-11-22T10:11:12.500Z",
    "2026-11-22T10:11:12+02:00": "2026-11-22T08:11:12.000Z",
    "20261122101112": "2026-11-22T10:11:12.000Z",
    "20240229000000": "2024-02-29T00:00:00.000Z",
    "20000229235959": "2000-02-29T23:59:59.000Z",
    "19000229000000": null,
    "20230229000000": null,
    "20260431000000": null,
    "20261301000000": null,
    "20260100000000": null,
    "20261122240000": null,
    "20261122106000": null,
    "20261122101160": null,
    "00000101000000": null,
    "2026-02-30T00:00:00Z": null,
    "2026-11-22T10:11:12": null,
    "2026-11-22 10:11:12Z": null,
    "2026-11-22": null,
    "2026-11-22T10:11:12+24:00": null,
    "2026112210111": null,
    "": null,
  };
  for (const [text, moment] of Object.entries(moments)) {
    assert.equal(parseDate(text)?.toISOString() ?? null, moment, text);
  }
});

Deno.test("a date comes back from either spelling", () => {
  const dates = fc.date({
    min: new Date("0001-01-01T00:00:00Z"),
    max: new Date("9999-12-31T23:59:59Z"),
    noInvalidDate: true,
  });
  fc.assert(fc.property(dates, (date) => {
    assert.deepEqual(parseDate(plain.date(date)), date);
    const seconds = new Date(Math.floor(date.getTime() / 1000) * 1000);
    assert.match(platformApi.date(date), /^\d{14}$/);
    assert.deepEqual(parseDate(platformApi.date(date)), seconds);
  }));
});

Deno.test("styleOf reads Prefer as RFC 7240 writes it", () => {
  const yes = [
    "conventions=platform-api",
    'conventions="platform-api"',
    "CONVENTIONS = Platform-API",
    "respond-async, conventions=platform-api; foo=bar",
    'a="x, conventions=no", conventions=platform-api',
    'wait=10;x="a;b", , conventions=platform-api',
    'conventions="platform\\-api"',
  ];
  const no = [
    "",
    null,
    undefined,
    "conventions",
    "conventions=other",
    'a="conventions=platform-api"',
    "a; conventions=platform-api",
    "conventions=other, conventions=platform-api",
    "xconventions=platform-api",
    `${"a,".repeat(1000)}conventions=platform-api`,
  ];
  for (const header of yes) assert.equal(styleOf(header), platformApi, header);
  for (const header of no) assert.equal(styleOf(header), plain, String(header));
});

Deno.test("styleOf takes any header without harm and in no time", () => {
  fc.assert(fc.property(fc.string({ maxLength: 1000 }), (header) => void styleOf(header)));
  const took = Array.from({ length: 5 }, () => { // The least: a busy machine may stop for any.
    const start = performance.now();
    styleOf('a="'.repeat(300));
    styleOf(`a${";".repeat(900)}"`);
    styleOf(`a;${'""'.repeat(490)}x"`);
    return performance.now() - start;
  });
  assert.ok(Math.min(...took) < 100);
});
