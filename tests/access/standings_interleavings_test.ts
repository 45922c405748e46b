/** What holds of somebody's standing in whatever order questions, answers and changes come. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { union } from "../../src/access/permissions.ts";
import { systemRoles } from "../../src/access/roles.ts";
import { standings } from "../../src/access/standings.ts";
import type { Issued } from "../../src/access/tokens.ts";
import { epochs } from "../../src/cache/epochs.ts";
import { below, databaseOf, namesIn, rowOf, tokenOf, type Truth, truth } from "./standing_rows.ts";

/** Things that happen at their time, on a clock that is turned by hand. */
function timeline() {
  const clock = { ms: 1_000_000 };
  let due: { atMs: number; go: () => void }[] = [];
  const settle = async () => {
    for (let turn = 0; turn < 40; turn++) await Promise.resolve();
  };
  const sleep = (ms: number) =>
    new Promise<void>((go) => void due.push({ atMs: clock.ms + ms, go }));
  const pass = async (ms: number) => {
    await settle();
    const end = clock.ms + ms;
    for (;;) {
      const next = due.toSorted((a, b) => a.atMs - b.atMs)[0];
      if (!next || next.atMs > end) break;
      due = due.filter((one) => one !== next);
      clock.ms = next.atMs;
      next.go();
      await settle();
    }
    clock.ms = end;
  };
  return { clock, sleep, pass };
}

const EPOCH_TTL_MS = 3_000;
const roles = [null, "member", "auditor", "admin"] as const;
type Wire = { there: number; back: number; fails: boolean };
type Step =
  | { do: "change"; role: typeof roles[number]; tenant: "harbour" | "below" }
  | { do: "sign" }
  | { do: "ask"; token: number; isListed: boolean; twice: boolean }
  | { do: "wait"; ms: number };

const some = <K extends Step["do"]>(word: K) => ({ do: fc.constant(word) });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.record({
      ...some("change"),
      role: fc.constantFrom(...roles),
      tenant: fc.constantFrom("harbour", "below"),
    }),
  },
  { weight: 1, arbitrary: fc.record(some("sign")) },
  {
    weight: 5,
    arbitrary: fc.record({
      ...some("ask"),
      token: fc.nat(),
      isListed: fc.boolean(),
      twice: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ ...some("wait"), ms: fc.constantFrom(1, 50, 700, 2_999, 3_000, 5_000) }),
  },
);
/** Mostly quick: what hangs widens what may be answered, and so hides what is wrong. */
const ms = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom(0, 1, 40) },
  { weight: 2, arbitrary: fc.constantFrom(900, 2_500) },
  { weight: 1, arbitrary: fc.constantFrom(4_000, 20_000) },
);
const wire: fc.Arbitrary<Wire> = fc.record({
  there: ms,
  back: ms,
  fails: fc.nat(19).map((n) => n === 0),
});

/** A process whose every question takes its time to the database and back. */
function processOver(at: Truth, wires: Wire[], { clock, sleep }: ReturnType<typeof timeline>) {
  let turn = 0;
  const carried = async <T>(look: () => T): Promise<T> => {
    const { there, back, fails } = wires[turn++ % wires.length] ??
      { there: 0, back: 0, fails: false };
    await sleep(there);
    const seen = look();
    await sleep(back);
    if (fails) throw new Error("away");
    return seen;
  };
  const known = epochs({
    read: (tenant) => carried(() => ({ access: at.epochs.get(tenant) ?? 0 })),
    ttlMs: EPOCH_TTL_MS,
    maxTenants: 10,
    now: () => clock.ms,
    random: () => 0.5,
  });
  return standings({
    database: databaseOf((statement) => {
      const [home = "", , , acting = ""] = namesIn(statement);
      return carried(() => [rowOf(at, home, acting)]);
    }),
    epochOf: (tenant) => known.at(tenant, "access"),
    now: () => clock.ms,
    unknown: () => {},
  });
}

async function check(steps: Step[], wires: Wire[]) {
  const line = timeline();
  const { clock, pass } = line;
  const at = truth();
  const { ofToken } = processOver(at, wires, line);
  const history = [{ role: at.role, fromMs: -Infinity }];
  const grantsOf = (role: string | null) => role === null ? null : union(systemRoles[role] ?? {});
  const signed = () => {
    const token = tokenOf(below, {
      homeEpoch: at.epochs.get("harbour") ?? 0,
      actingEpoch: at.epochs.get("below") ?? 0,
    });
    Object.assign(token.standee.principal, { grants: grantsOf(at.role) ?? {} });
    return token;
  };
  const tokens = [signed()];
  /** What held at some moment from so long before a request began until it was answered. */
  const heldSince = (beganMs: number) =>
    history.filter((_, i) => (history[i + 1]?.fromMs ?? Infinity) >= beganMs - EPOCH_TTL_MS)
      .map(({ role }) => JSON.stringify(grantsOf(role)));
  const asks: Promise<void>[] = [];
  const ask = async (token: Issued) => {
    const beganMs = clock.ms;
    const standee = await Promise.resolve(ofToken(token)).catch(() => undefined);
    if (standee === undefined) return;
    const got = JSON.stringify(standee && standee.principal.grants);
    assert.ok(heldSince(beganMs).includes(got), `${got} is not of the last ${EPOCH_TTL_MS} ms`);
  };
  for (const step of steps) {
    if (step.do === "wait") await pass(step.ms);
    else if (step.do === "sign" && at.role !== null) tokens.push(signed());
    else if (step.do === "change") {
      Object.assign(at, { role: step.role });
      at.epochs.set(step.tenant, (at.epochs.get(step.tenant) ?? 0) + 1);
      history.push({ role: step.role, fromMs: clock.ms });
    } else if (step.do === "ask") {
      const token = tokens[step.token % tokens.length] ?? signed();
      for (const one of step.twice ? [token, token] : [token]) {
        asks.push(ask(step.isListed ? { ...one, isListed: true } : one));
      }
    }
  }
  await pass(120_000);
  await Promise.all(asks);
}

Deno.test("ofToken gives nobody what was taken from them longer ago than epochs may lag", async () => {
  const property = fc.asyncProperty(
    fc.array(step, { minLength: 8, maxLength: 40 }),
    fc.array(wire, { minLength: 1, maxLength: 12 }),
    check,
  );
  await fc.assert(property, { numRuns: Deno.env.get("PROVE") === "1" ? 20_000 : 500 });
});
