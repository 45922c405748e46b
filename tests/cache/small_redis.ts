/** A few Redis commands in memory behind a `fetch`, which can be told to fall ill. */

export type Illness = "hangs" | "is deaf" | "refuses" | "talks nonsense";

type Value = string | Map<string, number>;

export type SmallRedis = {
  fetch: typeof fetch;
  values: Map<string, Value>;
  /** Every command that arrived, a pipeline as its commands. */
  seen: string[][];
  /** Requests that arrived, and those of them that were aborted. */
  requests: number;
  aborted: number;
  illness: Illness | null;
  /** What it says when it talks nonsense. */
  nonsense: () => Response;
};

export function smallRedis(): SmallRedis {
  const small: SmallRedis = {
    values: new Map(),
    seen: [],
    requests: 0,
    aborted: 0,
    illness: null,
    nonsense: () => new Response("<html>502 Bad Gateway</html>"),
    fetch: async (address, init) => {
      small.requests++;
      if (small.illness === "refuses") throw new TypeError("connection refused");
      if (small.illness === "talks nonsense") return small.nonsense();
      if (small.illness) await never(small, small.illness === "hangs" ? init?.signal : null);
      const body: unknown = JSON.parse(String(init?.body));
      const isPipeline = String(address).endsWith("/pipeline");
      return Response.json(isPipeline ? list(body).map(answer) : answer(body));
    },
  };

  function answer(command: unknown): { result: unknown } | { error: string } {
    const [name = "", key = "", ...rest] = list(command).map(String);
    small.seen.push([name, key, ...rest]);
    return perform(small.values, name.toUpperCase(), key, rest);
  }
  return small;
}

function perform(values: Map<string, Value>, name: string, key: string, rest: string[]) {
  const [first = "", second = ""] = rest;
  const value = values.get(key);
  if (name === "PING") return { result: "PONG" };
  if (name === "GET") return { result: value ?? null };
  if (name === "EXPIRE") return { result: value ? 1 : 0 };
  if (name === "SET") {
    values.set(key, first);
    return { result: "OK" };
  }
  const hash = value instanceof Map ? value : new Map<string, number>();
  if (name === "HGETALL") return { result: [...hash].flat().map(String) };
  if (name === "HINCRBY") {
    const sum = (hash.get(first) ?? 0) + Number(second);
    values.set(key, hash.set(first, sum));
    return { result: sum };
  }
  return { error: `ERR unknown command ${name}` };
}

function never(small: SmallRedis, signal: AbortSignal | null | undefined): Promise<never> {
  return new Promise((_, reject) =>
    signal?.addEventListener("abort", () => {
      small.aborted++;
      reject(signal.reason);
    })
  );
}

function list(value: unknown): unknown[] {
  if (!Array.isArray(value)) throw new TypeError("not a list");
  return value;
}

/** A moment in which everything that only waits for answers already given comes to an end. */
export const settled = () => new Promise<void>((resolve) => setTimeout(resolve, 0));
