import { chunksOf, hello, house, jsonOf, textOf } from "./house.ts";
Deno.test("scratch", async () => {
  await using h = await house();
  const t = await h.team();
  const r = await h.post(t.key, hello);
  console.log(r.status, Object.fromEntries(r.headers), await jsonOf(r));
  const s = await h.post(t.key, { ...hello, stream: true });
  console.log(textOf(await chunksOf(s)));
  console.log(await h.usage(t.id), h.upstream.calls.length);
});
