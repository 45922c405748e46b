/** The chapters about people: a tree of tenants, groups in groups, why somebody may, and rights taken away. */
import type { Client } from "../src/client.ts";
import { type Narrator, NotAsSaid } from "./narrator.ts";
import type { DemoWorld } from "./seed.ts";
import { type Person, personOf, reasonOf } from "./walk.ts";

type Story = {
  told: Narrator;
  url: string;
  /** Of the reseller, its customer, a company that is neither. */
  reseller: Person;
  customer: Person;
  member: Person;
  ids: { reseller: string; customer: string; branch: string; stranger: string };
};

const idOf = ({ tenants }: DemoWorld, name: string) => {
  const tenant = tenants.find((tenant) => tenant.name === name);
  if (!tenant) throw new NotAsSaid(`The demo world has no ${name}: start with a new DATA_DIR`);
  return tenant;
};

async function userIdOf({ trpc }: Client): Promise<string> {
  return (await trpc.identity.auth.me.query({})).userId;
}

async function seeTheTree({ told, url, reseller, customer, ids }: Story) {
  told.chapter("A reseller has customers, and those have branches");
  const { tenants } = await reseller.client.trpc.identity.tenants.list.query({ subtree: true });
  const below = tenants.map(({ id }) => id);
  const seesBoth = [ids.customer, ids.branch].every((id) => below.includes(id));
  told.check("The reseller sees both below it", seesBoth, tenants.map(({ name }) => name));
  told.check("And nobody beside it", !below.includes(ids.stranger));
  const exchange = { tenantId: ids.branch };
  const { accessToken } = await reseller.client.trpc.identity.auth.exchange.mutate(exchange);
  const answer = await fetch(`${url}/api/v1/users`, {
    headers: { authorization: `Bearer ${accessToken}` },
  });
  const { users = [] } = await answer.json();
  told.check(
    "It trades its token for one of the branch, and reads its people there",
    answer.status === 200 && users.length === 2,
    users.map((user: { display_name: string }) => user.display_name),
  );
  const up = await reasonOf(
    customer.client.trpc.identity.auth.exchange.mutate({ tenantId: ids.reseller }),
  );
  told.check("A customer cannot act in the reseller: it does not exist for them", isAbsent(up), up);
  const aside = await reasonOf(
    reseller.client.trpc.identity.auth.exchange.mutate({ tenantId: ids.stranger }),
  );
  told.check("Nor the reseller in another company", isAbsent(aside), aside);
}

const isAbsent = (reason: string) => reason === "tenant.not_found";

async function askWhy({ told, customer, member }: Story) {
  told.chapter("May he, who may, and why: groups in groups");
  const { access } = customer.client.trpc.identity;
  const userId = await userIdOf(member.client);
  const permission = "groups.read" as const;
  const answer = await access.check.query({ permission, userId });
  told.check("Milo may see the groups of the whole bakery", answer.reach === "tenant", answer);
  const { because } = await access.explain.query({ permission, userId });
  const chain = because.find(({ groups }) => groups.length === 3);
  told.check(
    "Because he is in Night shift, in Bakers, in Everyone, which has the role",
    chain !== undefined,
    chain?.groups.map(({ name }) => name),
  );
  const { grants } = await access.list.query({ permission });
  told.check("The list of who may has him", grants.some((grant) => grant.userId === userId));
  const not = await access.explain.query({ permission: "users.create", userId });
  told.check("Why he may not make users is said too", !not.allowed, not.missing);
}

async function giveAndTake({ told, customer, member }: Story) {
  told.chapter("A right is given for a while, and taken away");
  const { roleBindings } = customer.client.trpc.identity;
  const userId = await userIdOf(member.client);
  const isLetIn = async () => {
    const answer = await member.call("/api/v1/audit-entries?limit=1");
    await answer.body?.cancel();
    return answer.status === 200;
  };
  told.check("Milo may not read the audit trail", !await isLetIn());
  const endsAt = new Date(Date.now() + 3600_000);
  const { id } = await roleBindings.create.mutate({ userId, systemRole: "auditor", endsAt });
  told.check("He is an auditor for an hour: the token he has is enough", await isLetIn());
  await roleBindings.revoke.mutate({ id });
  told.check("Taken back, the same token is refused at once", !await isLetIn());
  const grabbed = await reasonOf(
    member.client.trpc.identity.roleBindings.create.mutate({ userId, systemRole: "owner" }),
  );
  told.check("Nobody makes himself owner", grabbed === "permission.missing", grabbed);
}

async function giveNoMore({ told, url, customer, ids }: Story, branch: Person) {
  told.chapter("Nobody gives more than they hold");
  const { trpc } = branch.client;
  const invitation = { email: "newcomer@quayside.example", systemRole: "owner" };
  const reason = await reasonOf(trpc.identity.invitations.create.mutate(invitation));
  told.check("A branch's admin cannot invite an owner", reason === "grant.beyond", reason);
  const member = { ...invitation, systemRole: "member" };
  const invited = await trpc.identity.invitations.create.mutate(member);
  told.check("They can invite a member; the way in is in the mail alone", Boolean(invited.id));
  await trpc.identity.invitations.revoke.mutate({ id: invited.id });
  const { accessToken } = await customer.client.trpc.identity.auth.exchange
    .mutate({ tenantId: ids.branch });
  const post = (path: string, body: unknown) =>
    fetch(`${url}/api/v1${path}`, {
      method: "POST",
      body: JSON.stringify(body),
      headers: { authorization: `Bearer ${accessToken}`, "content-type": "application/json" },
    });
  const made = await post("/invitations", { email: invitation.email, system_role: "owner" });

  const answer = await made.json();
  told.check("The owner above, who holds it all the way down, can", made.status === 201, answer);
  await (await post(`/invitations/${answer.id}/revoke`, {})).body?.cancel();
}

async function suspend({ told, reseller, member, ids }: Story, branch: Person) {
  told.chapter("A suspended tenant takes all below it along");
  const isLetIn = async (person: Person) => {
    const answer = await person.call("/api/v1/auth/me");
    await answer.body?.cancel();
    return answer.status === 200;
  };
  const { tenants } = reseller.client.trpc.identity;
  await tenants.suspend.mutate({ id: ids.customer });
  const isShut = !await isLetIn(member) && !await isLetIn(branch);
  told.check("The customer's people and its branch's are out", isShut);
  await tenants.activate.mutate({ id: ids.customer });
  const isBack = await isLetIn(member) && await isLetIn(branch);
  told.check("And back, with the tokens they have", isBack);
  const cycle = await reasonOf(tenants.move.mutate({ id: ids.customer, parentId: ids.branch }));
  told.check("A tenant cannot be moved below itself", cycle === "tenant.cycle", cycle);
}

export async function walkIdentity(world: DemoWorld, told: Narrator) {
  const { url } = world;
  const [reseller, customer, branch] = [
    idOf(world, "Northlight Partners"),
    idOf(world, "Harbour Bakery"),
    idOf(world, "Harbour Bakery Quayside"),
  ];
  const story: Story = {
    told,
    url,
    reseller: await personOf(url, reseller.admin),
    customer: await personOf(url, customer.admin),
    member: await personOf(url, customer.member),
    ids: {
      reseller: reseller.id,
      customer: customer.id,
      branch: branch.id,
      stranger: idOf(world, "Nordwind Logistics").id,
    },
  };
  const below = await personOf(url, branch.admin);
  await seeTheTree(story);
  await askWhy(story);
  await giveAndTake(story);
  await giveNoMore(story, below);
  await suspend(story, below);
}
