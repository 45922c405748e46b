/** Channels as a client sees them. */
import * as connections from "../../src/teams/channel_connections.ts";
import * as updates from "../../src/teams/channel_updates.ts";
import * as channels from "../../src/teams/channels.ts";
import { call, may, rest, router } from "../trpc.ts";

export const channelRouters = {
  channels: router({
    create: may("channels.create").meta(rest("POST /channels", "Add a channel to a team", 201))
      .input(channels.Create).output(channels.Created).mutation(call(channels.create)),
    get: may("channels.read").meta(rest("GET /channels/{id}", "Get a channel"))
      .input(channels.Get).output(channels.Channel).query(call(channels.get)),
    update: may("channels.update").meta(rest("PUT /channels/{id}", "Update a channel"))
      .input(channels.Update).output(channels.Channel).mutation(call(channels.update)),
    connect: may("channels.update")
      .meta({
        ...rest("POST /channels/{id}/connect", "Tell the platform where to send what is said"),
        repeatable: "It tells the platform; told again it is the same",
      })
      .input(connections.Connect).output(channels.Channel).mutation(call(connections.connect)),
    rotateSecret: may("channels.update")
      .meta(rest("POST /channels/{id}/rotate-secret", "Replace a channel's secret"))
      .input(connections.RotateSecret).output(connections.SecretRotated)
      .mutation(call(connections.rotateSecret)),
    deactivate: may("channels.deactivate")
      .meta(rest("POST /channels/{id}/deactivate", "Deactivate a channel"))
      .input(channels.Deactivate).output(channels.Channel).mutation(call(channels.deactivate)),
    list: may("channels.read").meta(rest("GET /channels", "List channels"))
      .input(channels.List).output(channels.Listed).query(call(channels.list)),
  }),
  channelUpdates: router({
    list: may("channels.read")
      .meta(rest("GET /channels/{channel_id}/updates", "List what a channel was told"))
      .input(updates.List).output(updates.Listed).query(call(updates.list)),
  }),
};
