/**
 * Long waits, all on one timer: a timer of its own takes longer to make than most of what is done while
 * one waits, and nearly every wait is called off.
 */

/** Shorter ones have a timer of their own, and are exact. */
const SHORT_MS = 1_000;
const TICK_MS = 250;

type Wait = { untilMs: number; ring: () => void };
const nothing = () => {};

function onOneTimer() {
  const waits = new Set<Wait>();
  let ticking: ReturnType<typeof setInterval> | undefined;

  function tick() {
    const nowMs = performance.now();
    if (waits.size === 0) {
      clearInterval(ticking);
      ticking = undefined;
    }
    for (const wait of waits) {
      if (wait.untilMs > nowMs) continue;
      waits.delete(wait);
      queueMicrotask(() => wait.ring()); // What one throws keeps no other from it.
    }
  }

  return (ms: number, ring: () => void) => {
    const wait = { untilMs: performance.now() + ms, ring };
    waits.add(wait);
    if (ticking === undefined) {
      ticking = setInterval(tick, TICK_MS);
      Deno.unrefTimer(ticking);
    }
    return () => {
      waits.delete(wait);
      wait.ring = nothing;
    };
  };
}

const waitLong = onOneTimer();

/**
 * Calls `ring` once, in `ms` milliseconds or, where that is a second or more, up to a quarter of a second
 * later. What it answers calls it off. A wait of a second or more keeps no process alive.
 */
export function waitFor(ms: number, ring: () => void): () => void {
  if (ms >= SHORT_MS) return waitLong(ms, ring);
  const timer = setTimeout(ring, ms);
  return () => clearTimeout(timer);
}
