/** A value nobody may see by accident: it prints as `[secret]` wherever it is written. */

const mask = "[secret]";

/**
 * Holds a string in a private field, which JSON, superjson, structuredClone, spread and every
 * inspector skip. Only `reveal()` gives it out, so a search for that word finds every use.
 *
 * Two secrets always look alike to `deepEqual`: compare what they reveal.
 */
export class Secret {
  readonly #plain: string;

  constructor(plain: string) {
    this.#plain = plain;
  }

  reveal(): string {
    return this.#plain;
  }

  toString(): string {
    return mask;
  }

  toJSON(): string {
    return mask;
  }

  [Symbol.for("Deno.customInspect")](): string {
    return mask;
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return mask;
  }
}

/** The text itself, for machinery that takes a secret in either form. */
export const plainOf = (value: string | Secret): string =>
  value instanceof Secret ? value.reveal() : value;
