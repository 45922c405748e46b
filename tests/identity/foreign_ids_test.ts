/** Foreign ids: what other systems call our users, one name of a kind to one user. */
import assert from "node:assert/strict";
import { etagOf } from "../../src/etags.ts";
import { assertRefused, refusal } from "./givers.ts";
import { mailed } from "./people.ts";

const h = await mailed();
const stage = async () => {
  const tenantId = await h.tenantBelow();
  const owner = await h.login(tenantId, { role: "owner" });
  const [ada, bo] = [await h.login(tenantId), await h.login(tenantId)];
  const { foreignIds, foreignIdTypes } = h.identity(owner);
  const payroll = await foreignIdTypes.create({
    name: "Payroll number",
    description: "Of the office",
  });
  return { tenantId, owner, ada, bo, foreignIds, foreignIdTypes, payroll };
};

Deno.test("foreignIds.list finds whose a name of a kind is", async () => {
  const { tenantId, ada, bo, foreignIds, foreignIdTypes, payroll } = await stage();
  const crm = await foreignIdTypes.create({ name: "CRM" });
  const made = await foreignIds.create({ id: ada.userId, typeId: payroll.id, value: " E-1 " });
  assert.deepEqual([made.ownerUserId, made.value], [ada.userId, "E-1"]);
  await foreignIds.create({ id: bo.userId, typeId: crm.id, value: "E-1" });
  const found = await foreignIds.list({ typeId: payroll.id, value: "E-1" });
  assert.deepEqual(found.foreignIds, [made]);
  assert.deepEqual((await foreignIds.list({ typeId: payroll.id, value: "E-2" })).foreignIds, []);
  assert.equal((await foreignIds.list({ value: "E-1" })).foreignIds.length, 2);
  const ofBo = await foreignIds.list({ userId: bo.userId });
  assert.deepEqual(ofBo.foreignIds.map(({ typeId }) => typeId), [crm.id]);
  assert.deepEqual(await foreignIds.listOfUser({ id: bo.userId }), ofBo);
  const [event] = await h.sql(
    "select data from events where type = 'foreign_id.created' and subject_id = $1",
    [
      made.id,
    ],
  );
  assert.equal(Reflect.get(Object(event?.data), "owner_user_id"), ada.userId);
  assert.equal((await h.trail(tenantId)).at(-1)?.action, "foreign_id.created");
});

Deno.test("foreignIds.create refuses a name of a kind that somebody has, and what is not here", async () => {
  const { ada, bo, foreignIds, payroll } = await stage();
  const far = await stage();
  const give = (id: string, typeId: string, value = "E-1") =>
    refusal(foreignIds.create({ id, typeId, value }));
  assert.equal(await give(ada.userId, payroll.id), "done");
  assert.equal(await give(bo.userId, payroll.id), "Conflict foreign_id.already_exists");
  assert.equal(await give(ada.userId, payroll.id), "Conflict foreign_id.already_exists");
  assert.equal(await give(far.ada.userId, payroll.id, "E-2"), "NotFound user.not_found");
  assert.equal(await give(ada.userId, far.payroll.id, "E-2"), "NotFound foreign_id_type.not_found");
  assert.equal(await give(ada.userId, payroll.id, "E-2"), "done");
});

Deno.test("foreignIds.delete frees the name", async () => {
  const { tenantId, ada, bo, foreignIds, payroll } = await stage();
  const { id } = await foreignIds.create({ id: ada.userId, typeId: payroll.id, value: "E-1" });
  await foreignIds.delete({ id });
  assert.equal((await h.trail(tenantId)).at(-1)?.action, "foreign_id.deleted");
  await assertRefused(foreignIds.delete({ id }), "NotFound foreign_id.not_found");
  await foreignIds.create({ id: bo.userId, typeId: payroll.id, value: "E-1" });
});

Deno.test("a kind of name is there once, and stays while somebody has one of it", async () => {
  const { owner, ada, foreignIds, foreignIdTypes, payroll } = await stage();
  const twice = foreignIdTypes.create({ name: payroll.name });
  await assertRefused(twice, "Conflict foreign_id_type.already_exists");
  const made = await foreignIds.create({ id: ada.userId, typeId: payroll.id, value: "E-1" });
  const { id } = payroll;
  await assertRefused(foreignIdTypes.delete({ id }), "Conflict foreign_id_type.in_use");
  await foreignIds.delete({ id: made.id });
  const ifMatch = etagOf(id, new Date(0));
  const late = h.w.as(owner, { ifMatch }).identity.foreignIdTypes;
  await assertRefused(late.delete({ id }), "PreconditionFailed row.changed");
  await foreignIdTypes.delete({ id });
  await assertRefused(foreignIdTypes.delete({ id }), "NotFound foreign_id_type.not_found");
  assert.deepEqual((await foreignIdTypes.list({})).foreignIdTypes, []);
});

Deno.test("who reaches themselves sees their own foreign ids, and declares no kinds", async () => {
  const { ada, bo, foreignIds, payroll } = await stage();
  const mine = await foreignIds.create({ id: ada.userId, typeId: payroll.id, value: "E-1" });
  const theirs = await foreignIds.create({ id: bo.userId, typeId: payroll.id, value: "E-2" });
  const permissions = ["foreign_ids.read", "foreign_ids.create", "foreign_ids.delete"];
  const grants = Object.fromEntries(permissions.map((p) => [p, "self" as const]));
  const self = h.w.as({ ...ada, grants }).identity;
  assert.deepEqual((await self.foreignIds.list({})).foreignIds, [mine]);
  assert.deepEqual((await self.foreignIds.list({ value: "E-2" })).foreignIds, []);
  const others = self.foreignIds.listOfUser({ id: bo.userId });
  await assertRefused(others, "NotFound user.not_found");
  const gone = self.foreignIds.delete({ id: theirs.id });
  await assertRefused(gone, "NotFound foreign_id.not_found");
  const given = self.foreignIds.create({ id: bo.userId, typeId: payroll.id, value: "E-3" });
  await assertRefused(given, "NotFound user.not_found");
  await self.foreignIds.create({ id: ada.userId, typeId: payroll.id, value: "E-4" });
  await assertRefused(self.foreignIdTypes.create({ name: "X" }), "Forbidden permission.only_self");
  await assertRefused(
    self.foreignIdTypes.delete({ id: payroll.id }),
    "Forbidden permission.only_self",
  );
  assert.equal((await self.foreignIdTypes.list({})).foreignIdTypes.length, 1);
  const visitor = h.w.as({ ...ada, grants, userId: null }).identity.foreignIds;
  assert.deepEqual((await visitor.list({})).foreignIds, []);
});

Deno.test.afterAll(() => h.w.close());
