/** The attacks on one procedure: every way somebody of another tenant could try to reach our rows. */
import type { Entry } from "../../routers/procedures.ts";
import type { Principal } from "../../src/context.ts";
import {
  batch,
  type Call,
  isJson,
  placeOf,
  rest,
  rests,
  spotsOf,
  trpc,
  trpcGet,
  trpcPost,
  uuidSpots,
  wireOf,
  withAt,
  withHeaders,
} from "./doors.ts";

/** Who attacks, and what an attacker could know of us. */
export type Scene = {
  theirs: {
    tenantId: string;
    attackers: Record<string, Principal>;
    /** Of a person with every permission, and of a team. */
    keys: { person: string; team: string };
  };
  ours: { tenantId: string; ids: string[]; names: string[]; etags: string[]; forged: string[] };
  /** A good call of ours, which they repeat, and one of theirs, into which they put our ids. */
  victim: unknown;
  own: unknown;
  /** The key under which we sent `kept` already, with success. */
  idempotency: { key: string; input: unknown };
};

export type Attack = {
  way: string;
  call: Call;
  /** Null when the credential is in the call itself. */
  as: Principal | null;
  /** The same with an id of nobody: both must answer alike, or ids could be probed. */
  twin?: Call;
  /** Nothing but a refusal is right. */
  isForged?: boolean;
};

export const nobody = "01900000-0000-7000-8000-00000000dead";

/** All attacks on `entry`; `boss` is their administrator. */
export function attacksOn(entry: Entry, scene: Scene): Attack[] {
  const { boss = null, ...others } = scene.theirs.attackers;
  const plain = (way: string, calls: (Call | null)[], as: Principal | null = boss): Attack[] =>
    calls.flatMap((call) => call ? [{ way, call, as }] : []);
  return [
    ...plain("our call over tRPC", [trpc(entry, scene.victim)]),
    ...plain("our call over the other tRPC method", [
      entry.type === "query"
        ? trpcPost(entry.path, scene.victim)
        : trpcGet(entry.path, scene.victim),
    ]),
    ...plain("our call over REST", rests(entry, scene.victim)),
    ...Object.entries(others).flatMap(([who, as]) =>
      plain(`our call by ${who}`, [trpc(entry, scene.victim), ...rests(entry, scene.victim)], as)
    ),
    ...ids(entry, scene, boss),
    ...plain("beside a call of their own", [beside(entry, scene)]),
    ...tenants(entry, scene).flatMap(([way, calls]) => plain(way, calls)),
    ...headers(entry, scene).flatMap(([way, calls]) => plain(way, calls)),
    ...shapes(entry, scene).flatMap(([way, calls]) => plain(way, calls)),
    ...paths(entry, scene).map((call): Attack => ({
      way: "another spelling of the path",
      call,
      as: boss,
    })),
    ...credentials(entry, scene),
  ];
}

/** An id of nobody, as old as `id`: as a cursor it leads to the same place. */
const neighbour = (id: string) => id.replace(/.$/, (last) => last === "0" ? "1" : "0");

/** Each of our ids in each field that takes one. */
function ids(entry: Entry, { ours, own }: Scene, as: Principal | null): Attack[] {
  // Checking a password is slow on purpose: what is open gets a few ids.
  const tried = entry.meta.permission ? ours.ids : ours.ids.slice(0, 3);
  return uuidSpots(entry).flatMap(({ path }) =>
    tried.flatMap((id, place) => {
      const [input, empty] = [withAt(own, path, id), withAt(own, path, neighbour(id))];
      const pairs = [[trpc(entry, input), trpc(entry, empty)], [
        rest(entry, input),
        rest(entry, empty),
      ]];
      // Through REST only the first few: the road behind it is the same.
      return pairs.slice(0, place < 4 ? 2 : 1).flatMap(([call, twin]) =>
        call && twin ? [{ way: `our id as ${path.join(".")}`, call, as, twin }] : []
      );
    })
  );
}

/** In one batch with something that is theirs to do. */
function beside(entry: Entry, { victim }: Scene): Call {
  const harmless = entry.type === "query"
    ? { path: "identity.auth.me", input: {} }
    : { path: "identity.auth.signOut", input: {} };
  const mine = { path: entry.path, input: victim };
  return batch(entry.type, [harmless, mine, harmless, mine]);
}

const tenantFields = ["tenantId", "tenant_id", "tenant", "orgId", "appliesToTenantId", "__tenant"];

/** Another tenant named wherever one could be. */
function tenants(entry: Entry, { ours, victim, own }: Scene): [string, (Call | null)[]][] {
  const claim = Object.fromEntries(tenantFields.map((name) => [name, ours.tenantId]));
  const inQuery = (call: Call | null) =>
    call && {
      ...call,
      url: `${call.url}${call.url.includes("?") ? "&" : "?"}tenant_id=${ours.tenantId}`,
    };
  return [
    ["our tenant in the input", [
      ...tenantFields.map((name) => trpc(entry, withAt(own, [name], ours.tenantId))),
      trpc(entry, { ...(isJson(victim) ? victim : {}), ...claim }),
    ]],
    ["our tenant in the body", [
      rest(entry, own, claim),
      rest(entry, victim, { tenant_id: ours.tenantId }),
    ]],
    ["our tenant in the query", [inQuery(rest(entry, own)), inQuery(rest(entry, victim))]],
    ["two tenants in the query", [inQuery(inQuery(rest(entry, victim)))]],
  ];
}

const tenantHeaders = [
  "x-tenant-id",
  "x-tenant",
  "x-org-id",
  "tenant-id",
  "x-forwarded-tenant",
  "x-switchboard-tenant",
  "x-hasura-tenant-id",
];

/** What headers could talk the service into. */
function headers(entry: Entry, scene: Scene): [string, (Call | null)[]][] {
  const { ours, victim, own, idempotency } = scene;
  const named = Object.fromEntries(tenantHeaders.map((name) => [name, ours.tenantId]));
  const dressed = (input: unknown, more: Record<string, string>) =>
    [trpc(entry, input), rest(entry, input)].map((call) => call && withHeaders(call, more));
  const method = placeOf(entry)?.method ?? "POST";
  return [
    ["our tenant in headers", [...dressed(victim, named), ...dressed(own, named)]],
    [
      "our entity tag",
      ours.etags.flatMap((etag) => [
        ...dressed(victim, { "if-match": etag }),
        ...dressed(victim, { "if-none-match": etag }),
      ]),
    ],
    ["any entity tag", dressed(victim, { "if-match": "*" })],
    ["our idempotency key", dressed(idempotency.input, { "idempotency-key": idempotency.key })],
    ["another method in a header", dressed(victim, { "x-http-method-override": method })],
    ["another path in a header", dressed(own, { "x-original-url": `/api/v1/${ours.tenantId}` })],
    ["our conventions", dressed(victim, { prefer: "conventions=platform-api" })],
  ];
}

/** Values that are not quite ids, and names instead of ids. */
function shapes(entry: Entry, { ours, victim, own }: Scene): [string, (Call | null)[]][] {
  const spots = uuidSpots(entry);
  const odd = (id: string): unknown[] => [
    id.toUpperCase(),
    `{${id}}`,
    `urn:uuid:${id}`,
    id.replaceAll("-", ""),
    [id],
    [nobody, id],
    { ne: nobody },
    `${nobody}' or '1'='1`,
    "%",
    `${id}\u0000`,
  ];
  const [first = ours.tenantId] = ours.ids;
  const texts = spotsOf(entry).filter(({ schema }) =>
    schema.type === "string" && schema.format !== "uuid" && !schema.enum
  );
  return [
    [
      "another spelling of our id",
      spots.flatMap(({ path }) =>
        [...victimIds(victim, path), first].flatMap((id) =>
          odd(id).flatMap((value) => {
            const input = withAt(own, path, value);
            return [trpc(entry, input), typeof value === "string" ? rest(entry, input) : null];
          })
        )
      ),
    ],
    [
      "our names",
      texts.flatMap(({ path }) => ours.names.map((name) => trpc(entry, withAt(own, path, name)))),
    ],
    ["both ids in path, query and body", mixed(entry, victim, own)],
  ];
}

const victimIds = (victim: unknown, path: string[]): string[] => {
  const value = path.reduce((at: unknown, key) => isJson(at) ? at[key] : undefined, victim);
  return typeof value === "string" ? [value] : [];
};

/** Our id in one place of a REST request, theirs in another. */
function mixed(entry: Entry, victim: unknown, own: unknown): (Call | null)[] {
  const [ours, theirs] = [wireOf(entry, victim), wireOf(entry, own)];
  const query = (from: Record<string, unknown>) =>
    Object.entries(from).filter(([, value]) => typeof value === "string")
      .map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`).join("&");
  const asked = (call: Call | null, ...more: string[]) =>
    call && { ...call, url: [call.url, ...more].join(call.url.includes("?") ? "&" : "?") };
  return [
    asked(rest(entry, own), query(ours)),
    asked(rest(entry, victim), query(theirs)),
    rest(entry, own, ours),
    rest(entry, victim, theirs),
    asked(rest(entry, own), `${query(theirs)}&${query(ours)}`),
    rest(entry, own, { id: ours.id ?? nobody, ID: ours.id, Id: ours.id }),
  ];
}

/** Paths a guard on a prefix would miss. */
function paths(entry: Entry, { victim }: Scene): Call[] {
  const call = rest(entry, victim);
  if (!call) return [];
  const [path = "", query] = call.url.split("?");
  const tail = query ? `?${query}` : "";
  return [
    path.toUpperCase(),
    `/${path}`,
    path.replace("/api/v1/", "/api//v1//"),
    `${path}/`,
    `${path};tenant=ours`,
    path.replace(/\/(?=[^/]*$)/, "%2F"),
    path.replace("/api/", "/api/%2e/"),
    path.replace("/api/v1/", "/api/v1/x/../"),
    path.replace("/api/v1/", "/api/v1/..%2fv1/"),
    `${path}%00`,
    `${path}.json`,
  ].map((url) => ({ ...call, url: url + tail }));
}

/** Tokens and keys that claim to be ours, and an honest key of theirs. */
function credentials(entry: Entry, { ours, theirs, victim, own }: Scene): Attack[] {
  const calls = [trpc(entry, victim), ...rests(entry, victim)];
  return [
    ...ours.forged.flatMap((token) =>
      // What is open looks at no credential: their own call of it is theirs to make.
      [...calls, ...entry.meta.permission ? [trpc(entry, own)] : []].flatMap((call): Attack[] => [
        {
          way: "a forged credential",
          call: withHeaders(call, { authorization: `Bearer ${token}` }),
          as: null,
          isForged: entry.meta.permission !== undefined,
        },
      ])
    ),
    ...calls.flatMap((call) =>
      Object.entries(theirs.keys).map(([whose, key]): Attack => ({
        way: `a ${whose}'s key of theirs`,
        call: withHeaders(call, { "x-api-key": key }),
        as: null,
      }))
    ),
  ];
}
