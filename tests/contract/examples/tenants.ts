/** One good call of each procedure of tenants and domains. */
import { everything, type House, type Side } from "../house.ts";
import { fresh, type Make } from "./shape.ts";

/** Whoever runs the tenant, as far as what lies below it. */
const above = ({ boss }: Side) => ({ ...boss, grants: everything("subtree") });

const tenantsOf = ({ w }: House, side: Side) => w.as(above(side)).identity.tenants;
const made = (house: House, side: Side) => tenantsOf(house, side).create({ name: `T ${fresh()}` });

/** A call on a tenant below the side's own. */
const onOne = (more: (name: string) => object = () => ({})): Make => async (house, side) => {
  const { id, name } = await made(house, side);
  return { input: { id, ...more(name) }, as: above(side) };
};

const address = () => ({
  kind: "billing" as const,
  lines: ["Hafenstraße 1"],
  city: "Hamburg",
  postalCode: "20457",
  country: "DE",
});
const addressed = async ({ w }: House, { boss }: Side) =>
  (await w.as(boss).identity.tenantAddresses.create(address())).id;

const claimed = ({ w }: House, { boss }: Side) =>
  w.as(boss).identity.domains.create({ name: `d${fresh()}.example` });

const zones = new WeakMap<House, Map<string, string>>();
/** Puts a record where the service looks for it. */
function publish(house: House, { name, value }: { name: string; value: string }) {
  const zone = zones.get(house) ?? new Map<string, string>();
  zones.set(house, zone.set(name, value));
  house.w.process.resolveTxt = (name) => Promise.resolve([[zone.get(name) ?? ""]]);
}

export const tenants: Record<string, Make> = {
  "identity.tenants.create": () => ({
    input: { name: `T ${fresh()}`, timeZone: "Europe/Berlin", metadata: { plan: "small" } },
  }),
  "identity.tenants.get": onOne(),
  "identity.tenants.list": (_, side) => ({
    input: { subtree: true, limit: 5 },
    as: above(side),
  }),
  "identity.tenants.update": onOne(() => ({ name: `T ${fresh()}`, timeZone: "Asia/Tokyo" })),
  "identity.tenants.suspend": onOne(),
  "identity.tenants.activate": async (house, side) => {
    const { id } = await made(house, side);
    await tenantsOf(house, side).suspend({ id });
    return { input: { id }, as: above(side) };
  },
  "identity.tenants.close": onOne((confirm) => ({ confirm })),
  "identity.tenants.move": async (house, side) => {
    const [{ id }, { id: parentId }] = [await made(house, side), await made(house, side)];
    return { input: { id, parentId }, as: above(side) };
  },
  "identity.tenantAddresses.create": () => ({ input: address() }),
  "identity.tenantAddresses.get": async (...at) => ({ input: { id: await addressed(...at) } }),
  "identity.tenantAddresses.list": () => ({ input: { kind: "billing", limit: 5 } }),
  "identity.tenantAddresses.update": async (...at) => ({
    input: { id: await addressed(...at), city: `Bremen ${fresh()}`, region: "Bremen" },
  }),
  "identity.tenantAddresses.delete": async (...at) => ({ input: { id: await addressed(...at) } }),
  "identity.domains.create": () => ({ input: { name: `d${fresh()}.example` } }),
  "identity.domains.get": async (...at) => ({ input: { id: (await claimed(...at)).id } }),
  "identity.domains.list": () => ({ input: { limit: 5 } }),
  "identity.domains.verify": async (house, side) => {
    const { id, txtRecord } = await claimed(house, side);
    publish(house, txtRecord);
    return { input: { id } };
  },
  "identity.domains.delete": async (...at) => ({ input: { id: (await claimed(...at)).id } }),
};
