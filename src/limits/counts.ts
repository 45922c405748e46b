/** What was used of one limit by one key, slice by slice of its window. */

/** A window has this many slices; the one that is passing comes on top. */
export const SLICES = 10;

/**
 * Units of one slice. `own`: taken in this process. `learnt`: what Redis said of all processes.
 * `fresh`: the part of `own` that `learnt` does not hold yet.
 */
export type Count = { own: number; fresh: number; learnt: number };

/** Slices are numbered from 1970 on, so that all processes mean the same by a number. */
export type Counts = { sliceMs: number; bySlice: Map<number, Count> };

/** Whether slice `at` still counts in `slice`; one ahead comes from another's fast clock. */
export const isCounted = (at: number, slice: number) => at >= slice - SLICES && at <= slice + 1;

/** A Redis that lost or invented counts cannot lower our own. */
export const units = (count: Count | undefined) =>
  count ? Math.max(count.own, count.learnt + count.fresh) : 0;

/** When what was used in slice `at` is given back, in milliseconds since 1970. */
export const backMs = (at: number, sliceMs: number) => (at + SLICES + 1) * sliceMs;
