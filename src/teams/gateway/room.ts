/** Room for requests: what a process holds of those that wait for an upstream is bounded. */
import type { Database } from "../../../db/client.ts";
import type { Services, TenantCtx } from "../../context.ts";
import { Fault } from "../../errors.ts";
import { MAX_REQUEST_BYTES } from "./requests.ts";

/** Of all requests in a process. A body is there several times over while it is read and rewritten. */
const ALL_BYTES = 6 * MAX_REQUEST_BYTES;
/** Of one tenant's, so that none takes the room of all. */
const TENANT_BYTES = 2 * MAX_REQUEST_BYTES;
/** So much of each finds room in any case. */
const SMALL_BYTES = 64 * 1024;

type Room = { all: number; byTenant: Map<string, number> };
const rooms = new WeakMap<Database, Room>();

function roomOf({ database }: Pick<Services, "database">): Room {
  const known = rooms.get(database);
  if (known) return known;
  const room: Room = { all: 0, byTenant: new Map() };
  rooms.set(database, room);
  return room;
}

/** What one request takes; `grow` throws Unavailable where there is no room for more at present. */
export type Place = { grow: (bytes: number) => void; leave: () => void };

/** Room for one request, taken as it comes and given back once. */
export function takePlace({ tenantId, database }: Pick<TenantCtx, "tenantId" | "database">): Place {
  const room = roomOf({ database });
  let [come, taken] = [0, 0];
  const add = (bytes: number) => {
    taken += bytes;
    room.all += bytes;
    const left = (room.byTenant.get(tenantId) ?? 0) + bytes;
    if (left > 0) room.byTenant.set(tenantId, left);
    else room.byTenant.delete(tenantId);
  };
  return {
    grow: (bytes) => {
      come += bytes;
      const more = Math.max(0, come - SMALL_BYTES) - taken;
      const own = (room.byTenant.get(tenantId) ?? 0) + more;
      if (more > 0 && (own > TENANT_BYTES || room.all + more > ALL_BYTES)) {
        const sentence = "Too much is being sent at once: send the next when one is answered";
        throw new Fault("Unavailable", "gateway.busy", sentence, { retryAfterSeconds: 1 });
      }
      add(more);
    },
    leave: () => add(-taken),
  };
}
