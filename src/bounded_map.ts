/** A map that never holds more than it may, for what is kept near. */

type Entry<V> = { value: V; weight: number; place: number };

/**
 * A map that holds entries up to a weight; those that nobody looked at for longest make room. A look
 * moves an entry to the end only where that is an eighth of them away, so most looks change nothing:
 * whatever goes, at least seven in eight of the others were set or looked at since it was.
 */
export class BoundedMap<V> {
  readonly #entries = new Map<string, Entry<V>>();
  readonly #most: number;
  /** Nothing stands before it: what it has passed was let go or moved to the end. */
  #oldest = this.#entries.keys();
  #places = 0;
  #weight = 0;

  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Of all that it holds. */
  get weight(): number {
    return this.#weight;
  }

  get(key: string): V | undefined {
    return this.#look(key)?.value;
  }

  /** The same, and it is not looked at. */
  peek(key: string): V | undefined {
    return this.#entries.get(key)?.value;
  }

  /** What weighs more than all may is not kept. */
  set(key: string, value: V, weight = 1): void {
    const known = this.#look(key);
    if (known?.weight === weight) {
      known.value = value;
      return;
    }
    this.delete(key);
    if (weight > this.#most) return;
    while (this.#weight + weight > this.#most) this.#makeRoom();
    this.#weight += weight;
    this.#append(key, { value, weight, place: 0 });
  }

  delete(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#weight -= entry.weight;
    this.#entries.delete(key);
  }

  #look(key: string): Entry<V> | undefined {
    const entry = this.#entries.get(key);
    if (entry !== undefined && (this.#places - entry.place) * 8 > this.#entries.size) {
      this.#entries.delete(key);
      this.#append(key, entry);
    }
    return entry;
  }

  #append(key: string, entry: Entry<V>) {
    entry.place = ++this.#places;
    this.#entries.set(key, entry);
  }

  #makeRoom() {
    const { done, value } = this.#oldest.next();
    if (done) this.#oldest = this.#entries.keys(); // One that has ended stays so.
    else this.delete(value);
  }
}
