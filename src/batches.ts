/** Asks for many at once: what comes while a question is under way waits for it and goes with the next. */

export type BatchOptions = {
  /** Items of one question. */
  most: number;
  /** Questions under way at once. */
  lanes: number;
};

type Waiting<I, O> = {
  item: I;
  resolve: (answer: O) => void;
  reject: (error: unknown) => void;
};

export type Batcher<I, O> = {
  /** The item's own answer. Who comes alone is asked for at once. */
  ask(item: I): Promise<O>;
  /** Resolves when nothing is under way any more. */
  idle(): Promise<void>;
};

/**
 * `run` answers as many as it was asked, in their order. When a question of several fails, each is
 * asked alone, so that one that cannot be answered takes no other with it.
 */
export function batcher<I, O>(run: (items: I[]) => Promise<O[]>, o: BatchOptions): Batcher<I, O> {
  let waiting: Waiting<I, O>[] = [];
  let running = 0;
  let idlers: (() => void)[] = [];

  async function alone({ item, resolve, reject }: Waiting<I, O>) {
    try {
      const [answer] = await run([item]);
      if (answer === undefined) throw new Error("A question of one was not answered");
      resolve(answer);
    } catch (error) {
      reject(error);
    }
  }

  async function together(batch: Waiting<I, O>[]) {
    try {
      const answers = await run(batch.map(({ item }) => item));
      if (answers.length !== batch.length) throw new Error("Not all of a question was answered");
      answers.forEach((answer, place) => batch[place]?.resolve(answer));
    } catch {
      for (const each of batch) await alone(each);
    }
  }

  function next() {
    while (running < o.lanes && waiting.length > 0) {
      const batch = waiting.slice(0, o.most);
      waiting = waiting.slice(o.most);
      running++;
      const [first] = batch;
      void (batch.length === 1 && first ? alone(first) : together(batch)).finally(() => {
        running--;
        next();
      });
    }
    if (running > 0) return;
    const told = idlers;
    idlers = [];
    for (const tell of told) tell();
  }

  return {
    ask: (item) =>
      new Promise((resolve, reject) => {
        waiting.push({ item, resolve, reject });
        next();
      }),
    idle: () =>
      new Promise((resolve) => {
        idlers.push(resolve);
        next();
      }),
  };
}
