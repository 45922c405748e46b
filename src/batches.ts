/** Asks for many at once: what comes while a question is under way waits for it and goes with the next. */

/** What nobody waits for is done after so long, off the path of who brought it, with all that came meanwhile. */
export const LATER_MS = 100;

export type BatchOptions = {
  /** Items of one question. */
  most: number;
  /** Questions under way at once. */
  lanes: number;
  /** How long what comes first waits for others, in ms, where nobody waits for the answer. */
  gatherMs?: number;
  /** Whether a failure is everybody's, whatever they asked: then nobody is asked for again. */
  isEverybodys: (error: unknown) => boolean;
};

type Waiting<I, O> = {
  item: I;
  resolve: (answer: O) => void;
  reject: (error: unknown) => void;
};

export type Batcher<I, O> = {
  /** The item's own answer. Who comes alone is asked for at once, unless others are waited for. */
  ask(item: I): Promise<O>;
};

/**
 * `run` answers as many as it was asked, in their order. When a question of several fails, its halves
 * are asked, and theirs, so that one that cannot be answered takes no other with it; they are told
 * that it is again.
 */
export function batcher<I, O>(
  run: (items: I[], again: boolean) => Promise<O[]>,
  o: BatchOptions,
): Batcher<I, O> {
  let waiting: Waiting<I, O>[] = [];
  let running = 0;
  let gathering: ReturnType<typeof setTimeout> | undefined;

  async function answer(batch: Waiting<I, O>[], again = false): Promise<void> {
    try {
      const answers = await run(batch.map(({ item }) => item), again);
      if (answers.length !== batch.length) throw new Error("Not all of a question was answered");
      answers.forEach((answer, place) => batch[place]?.resolve(answer));
    } catch (error) {
      if (batch.length === 1 || o.isEverybodys(error)) {
        return batch.forEach(({ reject }) => reject(error));
      }
      const half = Math.ceil(batch.length / 2);
      await answer(batch.slice(0, half), true);
      await answer(batch.slice(half), true);
    }
  }

  function next() {
    while (running < o.lanes && waiting.length > 0) {
      const batch = waiting.slice(0, o.most);
      waiting = waiting.slice(o.most);
      running++;
      void answer(batch).finally(() => {
        running--;
        next();
      });
    }
  }

  function gathered() {
    clearTimeout(gathering);
    gathering = undefined;
    next();
  }

  return {
    ask: (item) =>
      new Promise((resolve, reject) => {
        waiting.push({ item, resolve, reject });
        if (!o.gatherMs || waiting.length >= o.most) gathered();
        else gathering ??= setTimeout(gathered, o.gatherMs);
      }),
  };
}
