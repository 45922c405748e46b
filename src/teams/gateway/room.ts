/** Room for large requests: what a process holds of those that wait for an upstream is bounded. */
import type { Database } from "../../../db/client.ts";
import type { Services } from "../../context.ts";
import { Fault } from "../../errors.ts";
import { MAX_REQUEST_BYTES } from "./requests.ts";

/** Of all requests in a process. A body is there several times over while it is read and rewritten. */
const ALL_BYTES = 4 * MAX_REQUEST_BYTES;
/** Of one team's, so that none takes the room of all. */
const TEAM_BYTES = 2 * MAX_REQUEST_BYTES;
/** What is small finds room in any case. */
const SMALL_BYTES = 64 * 1024;

type Room = { all: number; byTeam: Map<string, number> };
const rooms = new WeakMap<Database, Room>();

function roomOf({ database }: Pick<Services, "database">): Room {
  const known = rooms.get(database);
  if (known) return known;
  const room: Room = { all: 0, byTeam: new Map() };
  rooms.set(database, room);
  return room;
}

/** Takes room for a body; the answer gives it back. Throws Unavailable where there is none at present. */
export function takeRoom(
  services: Pick<Services, "database">,
  teamId: string,
  bytes: number,
): () => void {
  if (bytes <= SMALL_BYTES) return () => {};
  const room = roomOf(services);
  const own = (room.byTeam.get(teamId) ?? 0) + bytes;
  if (own > TEAM_BYTES || room.all + bytes > ALL_BYTES) {
    const sentence = "Too much is being sent at once: send the next when one is answered";
    throw new Fault("Unavailable", "gateway.busy", sentence, { retryAfterSeconds: 1 });
  }
  const add = (more: number) => {
    room.all += more;
    const left = (room.byTeam.get(teamId) ?? 0) + more;
    if (left > 0) room.byTeam.set(teamId, left);
    else room.byTeam.delete(teamId);
  };
  add(bytes);
  return () => add(-bytes);
}
