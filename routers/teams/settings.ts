/** What stands behind teams: their types' defaults, where models are served and what they cost. */
import { z } from "zod";
import * as configs from "../../src/teams/platform_configs.ts";
import * as prices from "../../src/teams/model_prices.ts";
import * as upstreams from "../../src/teams/upstreams.ts";
import { call, may, rest, router } from "../trpc.ts";

export const settingRouters = {
  platformConfigs: router({
    update: may("platform_configs.update")
      .meta(rest("PUT /platform-configs/{platform_type}", "Update a platform type's defaults"))
      .input(configs.Update).output(configs.PlatformConfig).mutation(call(configs.update)),
    list: may("platform_configs.read")
      .meta(rest("GET /platform-configs", "List the platform types' defaults"))
      .input(configs.List).output(configs.Listed).query(call(configs.list)),
  }),
  upstreams: router({
    create: may("upstreams.create").meta(rest("POST /upstreams", "Add an upstream", 201))
      .input(upstreams.Create).output(upstreams.Upstream).mutation(call(upstreams.create)),
    get: may("upstreams.read").meta(rest("GET /upstreams/{id}", "Get an upstream"))
      .input(upstreams.Get).output(upstreams.Upstream).query(call(upstreams.get)),
    update: may("upstreams.update").meta(rest("PUT /upstreams/{id}", "Update an upstream"))
      .input(upstreams.Update).output(upstreams.Upstream).mutation(call(upstreams.update)),
    deactivate: may("upstreams.deactivate")
      .meta(rest("POST /upstreams/{id}/deactivate", "Deactivate an upstream"))
      .input(upstreams.Deactivate).output(upstreams.Upstream)
      .mutation(call(upstreams.deactivate)),
    list: may("upstreams.read").meta(rest("GET /upstreams", "List the tenant's own upstreams"))
      .input(upstreams.List).output(upstreams.Listed).query(call(upstreams.list)),
  }),
  modelPrices: router({
    create: may("model_prices.create")
      .meta(rest("POST /model-prices", "Say what a model costs from a moment on", 201))
      .input(prices.Create).output(prices.ModelPrice).mutation(call(prices.create)),
    delete: may("model_prices.delete")
      .meta(rest("DELETE /model-prices/{id}", "Take a price back", 204))
      .input(prices.Delete).output(z.void()).mutation(call(prices.remove)),
    list: may("model_prices.read").meta(rest("GET /model-prices", "List what models cost"))
      .input(prices.List).output(prices.Listed).query(call(prices.list)),
  }),
};
