/** The few Redis commands that tests need, in memory, for machines without a `redis-server`. */
import { isError, type Redis, type Reply } from "./redis.ts";

interface Entry {
  value: string;
  expiresAt: number;
}

const ok: Reply = { status: "OK" };
const syntaxError: Reply = { error: "ERR syntax error" };
const notInteger: Reply = { error: "ERR value is not an integer or out of range" };
const bulk = (text: string): Reply => ({ bulk: new TextEncoder().encode(text) });
const integer = (text: string) => /^-?\d{1,15}$/.test(text) ? Number(text) : undefined;

export function memoryRedis(): Redis {
  const store = new Map<string, Entry>();
  const transact = (commands: string[][]): Reply => {
    const refused = commands.map(refusal).find((reply) => reply !== undefined);
    if (refused && isError(refused)) {
      return { error: "EXECABORT Transaction discarded because of previous errors." };
    }
    return commands.map((command) => execute(store, command));
  };
  return {
    run: (command) => Promise.resolve(refusal(command) ?? execute(store, command)),
    transact: (commands) => Promise.resolve(transact(commands)),
    stop: () => Promise.resolve(),
  };
}

/** Least and greatest number of arguments, as Redis declares them. */
const arity: Record<string, [number, number]> = {
  get: [1, 1],
  set: [2, 6],
  del: [1, Infinity],
  exists: [1, Infinity],
  mget: [1, Infinity],
  incr: [1, 1],
  decr: [1, 1],
  incrby: [2, 2],
  decrby: [2, 2],
  expire: [2, 2],
  pexpire: [2, 2],
  ttl: [1, 1],
  pttl: [1, 1],
  ping: [0, 1],
  flushall: [0, 0],
};

function refusal([name = "", ...args]: string[]): Reply | undefined {
  const allowed = arity[name.toLowerCase()];
  if (!allowed) {
    const shown = args.slice(0, 3).map((arg) => `'${arg}' `).join("");
    return { error: `ERR unknown command '${name}', with args beginning with: ${shown}` };
  }
  if (args.length >= allowed[0] && args.length <= allowed[1]) return undefined;
  return { error: `ERR wrong number of arguments for '${name.toLowerCase()}' command` };
}

function execute(store: Map<string, Entry>, [name = "", ...args]: string[]): Reply {
  const [key = "", second = ""] = args;
  switch (name.toLowerCase()) {
    case "get": {
      const entry = live(store, key);
      return entry ? bulk(entry.value) : null;
    }
    case "mget":
      return args.map((each) => execute(store, ["get", each]));
    case "set":
      return set(store, key, second, args.slice(2));
    case "del":
      return args.filter((each) => live(store, each) && store.delete(each)).length;
    case "exists":
      return args.filter((each) => live(store, each)).length;
    case "incr":
      return add(store, key, 1);
    case "decr":
      return add(store, key, -1);
    case "incrby":
      return add(store, key, integer(second));
    case "decrby":
      return add(store, key, -(integer(second) ?? NaN));
    case "expire":
      return expire(store, key, (integer(second) ?? NaN) * 1000);
    case "pexpire":
      return expire(store, key, integer(second) ?? NaN);
    case "ttl": {
      const left = leftMs(store, key);
      return left < 0 ? left : Math.ceil(left / 1000);
    }
    case "pttl":
      return leftMs(store, key);
    case "flushall":
      store.clear();
      return ok;
    default:
      return args.length > 0 ? bulk(key) : { status: "PONG" };
  }
}

function live(store: Map<string, Entry>, key: string): Entry | undefined {
  const entry = store.get(key);
  if (!entry || entry.expiresAt > Date.now()) return entry;
  store.delete(key);
  return undefined;
}

function set(store: Map<string, Entry>, key: string, value: string, options: string[]): Reply {
  const words = options.map((word) => word.toUpperCase());
  let expiresAt = Infinity;
  let condition = "";
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? "";
    if ((word === "EX" || word === "PX") && expiresAt === Infinity) {
      const amount = integer(words[++at] ?? "");
      if (amount === undefined) return notInteger;
      if (amount <= 0) return { error: "ERR invalid expire time in 'set' command" };
      expiresAt = Date.now() + amount * (word === "EX" ? 1000 : 1);
    } else if ((word === "NX" || word === "XX") && condition === "") {
      condition = word;
    } else {
      return syntaxError;
    }
  }
  const exists = live(store, key) !== undefined;
  if (condition !== "" && exists !== (condition === "XX")) return null;
  store.set(key, { value, expiresAt });
  return ok;
}

function add(store: Map<string, Entry>, key: string, amount: number | undefined): Reply {
  const entry = live(store, key);
  const before = integer(entry?.value ?? "0");
  if (before === undefined || amount === undefined || Number.isNaN(amount)) return notInteger;
  store.set(key, { value: String(before + amount), expiresAt: entry?.expiresAt ?? Infinity });
  return before + amount;
}

function expire(store: Map<string, Entry>, key: string, ms: number): Reply {
  if (Number.isNaN(ms)) return notInteger;
  const entry = live(store, key);
  if (!entry) return 0;
  if (ms <= 0) store.delete(key);
  else entry.expiresAt = Date.now() + ms;
  return 1;
}

function leftMs(store: Map<string, Entry>, key: string): number {
  const entry = live(store, key);
  if (!entry) return -2;
  return entry.expiresAt === Infinity ? -1 : entry.expiresAt - Date.now();
}
