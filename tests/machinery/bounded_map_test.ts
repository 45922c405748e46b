/** A map that makes room by itself: what it holds is true, never too much, and never what is in use. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { BoundedMap } from "../../src/bounded_map.ts";
import { runs } from "../teams/seeds.ts";

const MOST = 10;
const key = fc.constantFrom(..."abcdefghijklmnop");
const act = fc.oneof(
  fc.record({ does: fc.constant("set" as const), key, weight: fc.integer({ min: 1, max: 12 }) }),
  fc.record({ does: fc.constantFrom("get" as const, "peek" as const, "delete" as const), key }),
);

Deno.test("a bounded map holds what was last set, or nothing, and never more than it may", () => {
  const property = fc.property(fc.array(act, { maxLength: 200 }), (acts) => {
    const map = new BoundedMap<number>(MOST);
    const last = new Map<string, { value: number; weight: number }>();
    for (const [value, act] of acts.entries()) {
      if (act.does === "set") {
        map.set(act.key, value, act.weight);
        last.set(act.key, { value, weight: act.weight });
        assert.equal(map.peek(act.key), act.weight > MOST ? undefined : value);
      } else if (act.does === "delete") {
        map.delete(act.key);
        last.delete(act.key);
      } else {
        const found = map[act.does](act.key);
        if (found !== undefined) assert.equal(found, last.get(act.key)?.value);
      }
      const held = [...last].filter(([key]) => map.peek(key) !== undefined);
      assert.equal(map.size, held.length);
      assert.equal(map.weight, held.reduce((sum, [, { weight }]) => sum + weight, 0));
      assert.ok(map.weight <= MOST);
    }
  });
  fc.assert(property, runs(1_000));
});

Deno.test("what a bounded map lets go was not looked at while seven in eight others were", () => {
  const many = fc.record({ does: fc.constantFrom("get" as const, "set" as const), n: fc.nat(60) });
  const property = fc.property(fc.array(many, { minLength: 100, maxLength: 400 }), (acts) => {
    const most = 40;
    const map = new BoundedMap<number>(most);
    const seen = new Map<number, number>(); // What was last used, and when.
    for (const [turn, { does, n }] of acts.entries()) {
      const isHeld = map.peek(String(n)) !== undefined;
      if (does === "set") map.set(String(n), n);
      else map.get(String(n));
      if (does === "set" || isHeld) seen.set(n, turn);
      for (const [key, at] of seen) {
        if (map.peek(String(key)) !== undefined) continue;
        const since = [...seen.values()].filter((other) => other > at).length;
        assert.ok(since >= most * 7 / 8 - 1, `${key} went when ${since} others were used since`);
        seen.delete(key);
      }
      assert.equal(map.size, seen.size);
    }
  });
  fc.assert(property, runs(300));
});

Deno.test("a bounded map keeps what is in use, however many strangers come", () => {
  const map = new BoundedMap<number>(100);
  for (let n = 0; n < 10_000; n++) {
    map.set("in use", map.get("in use") ?? n);
    map.set(`stranger ${n}`, n);
  }
  assert.equal(map.get("in use"), 0);
  assert.equal(map.size, 100);
});
