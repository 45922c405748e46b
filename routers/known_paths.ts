/** Routes a path without parameters as fast as a map does, however many other routes there are. */
import type { Result, Router } from "hono/router";
import { RegExpRouter } from "hono/router/reg-exp-router";
import { SmartRouter } from "hono/router/smart-router";
import { TrieRouter } from "hono/router/trie-router";

const methods = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

/** Hono's own routers; what they found for a path that was added as it is asked for is known from then on. */
export class KnownPaths<T> implements Router<T> {
  readonly name = "KnownPaths";
  readonly #router = new SmartRouter<T>({ routers: [new RegExpRouter(), new TrieRouter()] });
  readonly #added = new Set<string>();
  readonly #known = new Map<string, Result<T>>();

  add(method: string, path: string, handler: T): void {
    this.#router.add(method, path, handler);
    this.#added.add(path);
    this.#known.clear();
  }

  match(method: string, path: string): Result<T> {
    const key = `${method} ${path}`;
    const known = this.#known.get(key);
    if (known) return known;
    const found = this.#router.match(method, path);
    // Only what was added, so that callers cannot fill it; a pattern asked for by its own text is one of these.
    if (this.#added.has(path) && methods.has(method)) this.#known.set(key, found);
    return found;
  }
}
