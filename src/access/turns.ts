/** Lets costly work run a few at a time: others wait for their turn, and too many are sent away. */
import { Fault } from "../errors.ts";

export type Turns = {
  /** Runs `work` when its turn has come. Throws Unavailable when too many wait already. */
  take<T>(work: () => Promise<T>): Promise<T>;
};

export type TurnsOptions = {
  atOnce: number;
  waiting: number;
  /** What a caller who is sent away is told to wait. */
  retryAfterSeconds: number;
};

export function turns({ atOnce, waiting, retryAfterSeconds }: TurnsOptions): Turns {
  let running = 0;
  const queue: (() => void)[] = [];
  const full = () =>
    new Fault("Unavailable", "server.busy", "Too many at once: try again shortly", {
      retryAfterSeconds,
    });

  const enter = (): Promise<void> => {
    if (running < atOnce) {
      running++;
      return Promise.resolve();
    }
    if (queue.length >= waiting) return Promise.reject(full());
    return new Promise((resolve) => queue.push(resolve)); // It takes over the place of who leaves.
  };
  const leave = () => {
    const next = queue.shift();
    if (next) next();
    else running--;
  };

  return {
    take: async (work) => {
      await enter();
      try {
        return await work();
      } finally {
        // A timer, so that others run in between when `work` never lets go of the thread.
        await new Promise((resolve) => setTimeout(resolve, 0));
        leave();
      }
    },
  };
}
