import { house, furnish, idsOf } from "./house.ts";
Deno.test("try", async () => {
  const h = await house();
  const ours = await h.side(h.root.tenantId, "Ours");
  const known = await furnish(h, ours, "canary");
  console.log([...known.keys()].join(" "), h.tables.map(t=>t.name+":"+t.primaryKey).join(" "));
  console.log(known.get("oauth_flows"));
  console.log((await idsOf(h, ours.tenantId)).length);
  await h.close();
});
