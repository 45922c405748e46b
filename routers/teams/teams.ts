/** Teams, their keys, and what counts for them: at S3's paths and at ours. */
import * as effective from "../../src/teams/effective.ts";
import * as keys from "../../src/teams/team_keys.ts";
import * as teams from "../../src/teams/teams.ts";
import { Team } from "../../src/teams/team_rows.ts";
import { alsoAt, call, may, rest, router } from "../trpc.ts";

const id = "/v1/admin/teams/{id}" as const;

export const teamRouters = {
  teams: router({
    create: may("teams.create")
      .meta(alsoAt("POST /v1/admin/teams", rest("POST /teams", "Create a team", 201)))
      .input(teams.Create).output(teams.Created).mutation(call(teams.create)),
    get: may("teams.read").meta(alsoAt(`GET ${id}`, rest("GET /teams/{id}", "Get a team")))
      .input(teams.Get).output(Team).query(call(teams.get)),
    update: may("teams.update").meta(alsoAt(`PUT ${id}`, rest("PUT /teams/{id}", "Update a team")))
      .input(teams.Update).output(Team).mutation(call(teams.update)),
    deactivate: may("teams.deactivate")
      .meta(
        alsoAt(`POST ${id}/deactivate`, rest("POST /teams/{id}/deactivate", "Deactivate a team")),
      )
      .input(teams.Deactivate).output(Team).mutation(call(teams.deactivate)),
    activate: may("teams.deactivate")
      .meta(
        alsoAt(`POST ${id}/activate`, rest("POST /teams/{id}/activate", "Activate a team again")),
      )
      .input(teams.Deactivate).output(Team).mutation(call(teams.activate)),
    list: may("teams.read").meta(alsoAt("GET /v1/admin/teams", rest("GET /teams", "List teams")))
      .input(teams.List).output(teams.Listed).query(call(teams.list)),
    effective: may("teams.read")
      .meta(rest("GET /teams/effective", "What counts for a team, and where each value comes from"))
      .input(effective.Get).output(effective.Effective).query(call(effective.get)),
  }),
  teamKeys: router({
    create: may("team_keys.create")
      .meta(rest("POST /teams/{team_id}/keys", "Create another key of a team", 201))
      .input(keys.Create).output(keys.Created).mutation(call(keys.create)),
    rotate: may("team_keys.rotate")
      .meta(rest("POST /teams/{team_id}/keys/{id}/rotate", "Let another key take over", 201))
      .input(keys.Rotate).output(keys.Rotated).mutation(call(keys.rotate)),
    revoke: may("team_keys.revoke")
      .meta(rest("POST /teams/{team_id}/keys/{id}/revoke", "Revoke a team's key"))
      .input(keys.Revoke).output(keys.TeamKey).mutation(call(keys.revoke)),
    list: may("team_keys.read").meta(rest("GET /teams/{team_id}/keys", "List a team's keys"))
      .input(keys.List).output(keys.Listed).query(call(keys.list)),
  }),
};
