/** Usage as a table to download. */
import assert from "node:assert/strict";
import { groups } from "../../src/teams/usage_cursors.ts";
import { exported, h, ours, whole } from "./usage_sample.ts";

Deno.test("the CSV is a table to download: its names, its types, nothing a spreadsheet computes", async () => {
  const { answer, names, text } = await exported(ours.admin, { ...whole, groupBy: [...groups] });
  assert.equal(answer.headers.get("content-type"), "text/csv; charset=utf-8; header=present");
  assert.equal(
    answer.headers.get("content-disposition"),
    'attachment; filename="usage_2026-01-01_2026-12-31.csv"',
  );
  assert.equal(answer.headers.get("cache-control"), "no-store");
  assert.deepEqual(names, [
    ...["team_id", "day", "model", "api_key_id", "user_id", "requests", "errors", "input_tokens"],
    ...["output_tokens", "cost_micros", "unpriced_requests", "average_latency_ms"],
    "max_latency_ms",
  ]);
  assert.ok(text.endsWith("\r\n"));
  assert.ok(text.includes(",'=free/model,") && text.includes(",'=1+1,"));
  assert.ok(!/(?:^|,|\n)"?[=+@\t]/m.test(text), "a cell begins like a formula");
  assert.ok(text.includes('"a ""quoted"", name\r\nof two lines"'));
});

Deno.test("the CSV's path takes GET and HEAD, and asks who is there first", async () => {
  const path = "/api/v1/usage.csv";
  const head = await h.w.request(path, { method: "HEAD" }, ours.admin);
  assert.deepEqual([head.status, await head.text()], [200, ""]);
  const options = await h.w.request(path, { method: "OPTIONS" });
  assert.deepEqual([options.status, options.headers.get("allow")], [204, "GET, HEAD, OPTIONS"]);
  const tried = [["POST", null, 401], ["POST", ours.admin, 405], [
    "GET",
    ours.nobody,
    403,
  ]] as const;
  for (const [method, who, status] of tried) {
    const answer = await h.w.request(path, { method }, who);
    assert.equal(answer.status, status, method);
    await answer.body?.cancel();
  }
});
