/** Lends a pool's sessions, and keeps a few of them out of it for what is asked all the time. */
import type { Pool, PoolClient } from "@neondatabase/serverless";
import { isBroken } from "./failures.ts";

type Work<T> = (client: PoolClient) => Promise<T>;

/** A session whose connection broke does not go back to the pool. */
export async function lendFrom<T>(pool: Pool, work: Work<T>): Promise<T> {
  const client = await pool.connect();
  let isLost = false;
  try {
    return await work(client);
  } catch (error) {
    isLost = isBroken(error);
    throw error;
  } finally {
    client.release(isLost);
  }
}

/** The pool ends what lies idle; what lies here goes back to it as often. */
const REST_MS = 60_000;

/** At most `most` sessions of a pool that are at hand without asking it. */
export class KeptSessions {
  readonly #pool: Pool;
  readonly #most: number;
  readonly #free: PoolClient[] = [];
  #out = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;

  constructor(pool: Pool, most: number) {
    this.#pool = pool;
    this.#most = most;
  }

  /** One of them when one is free or may be taken from the pool, else any of the pool's. */
  async lend<T>(work: Work<T>): Promise<T> {
    const client = this.#free.pop();
    if (!client && this.#out >= this.#most) return await lendFrom(this.#pool, work);
    this.#out++;
    let taken = client;
    try {
      taken ??= await this.#pool.connect();
      const answer = await work(taken);
      this.#give(taken);
      return answer;
    } catch (error) {
      const isLost = isBroken(error);
      if (isLost) this.rest(true); // What broke one has broken the others.
      if (isLost) taken?.release(true);
      else if (taken) this.#give(taken);
      throw error;
    } finally {
      this.#out--;
    }
  }

  #give(client: PoolClient) {
    if (this.#isClosed) return client.release();
    this.#free.push(client);
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => this.rest(), REST_MS);
    Deno.unrefTimer(this.#timer);
  }

  /** Gives what is free back to the pool; `areLost`: for it to end them. */
  rest(areLost = false) {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const client of this.#free.splice(0)) client.release(areLost);
  }

  /** Nothing is kept from now on. */
  close() {
    this.#isClosed = true;
    this.rest();
  }
}
