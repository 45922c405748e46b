/** The unmodified clients at our gateway, over a socket. */
import { type Answered, type Ask, type At, openaiClients } from "../clients/openai_clients.ts";
import { eventually, house, onSocket } from "./house.ts";

export type { Answered, Ask };

/** Only what a test cares about; where and as whom is known. */
type More = Partial<Omit<At, "url">>;

export async function clientHouse() {
  const h = await house();
  const at = onSocket(h);
  const clients = openaiClients();
  return {
    ...h,
    at,
    /** A question, and how many requests of it arrived. */
    ask: async (key: string, what: Ask, more: More = {}, onChunk?: () => void) => {
      const before = at.arrived.length;
      const answered = await clients.ask({ url: at.url, key, ...more, ...what }, onChunk);
      return { ...answered, arrived: at.arrived.length - before };
    },
    /**
     * A question of a team that has used its rate of one request a minute: refused with a second to
     * wait, and let through from then on.
     */
    async askTooFast(key: string, what: Ask, more: More = {}) {
      h.clock.frozenMs = Date.now();
      const once = async () => {
        const response = await h.get(key, "/v1/models");
        await response.body?.cancel();
        return response.headers.get("retry-after");
      };
      await once();
      h.clock.aheadMs += (Number(await once()) - 1) * 1_000;
      const refusals = () => h.lines.filter((line) => line.includes('"status":429')).length;
      const before = refusals();
      const answered = this.ask(key, what, more);
      await eventually(() => Promise.resolve(refusals()), (count) => count > before);
      h.clock.aheadMs += 10_000;
      try {
        return await answered;
      } finally {
        Object.assign(h.clock, { aheadMs: 0, frozenMs: null });
      }
    },
    async [Symbol.asyncDispose]() {
      await clients[Symbol.asyncDispose]();
      await at[Symbol.asyncDispose]();
      await h[Symbol.asyncDispose]();
    },
  };
}
export type ClientHouse = Awaited<ReturnType<typeof clientHouse>>;

/** What became of a team's one request, once it is written. */
export async function outcomeOf(h: ClientHouse, teamId: string) {
  const rows = await eventually(() => h.usage(teamId), ({ length }) => length > 0);
  return rows.map(({ outcome, usage_source }) => [outcome, usage_source]);
}
