/** Questions about access: may she, who may, why. */
import * as access from "../../src/identity/access.ts";
import * as explanations from "../../src/identity/explanations.ts";
import { call, may, rest, router } from "../trpc.ts";

export const accessRouters = {
  access: router({
    check: may("access.check").meta(rest("GET /access/check", "May somebody do something"))
      .input(access.Check).output(access.Checked).query(call(access.check)),
    list: may("access.check").meta(rest("GET /access/list", "Who may do what, and where"))
      .input(access.List).output(access.Listed).query(call(access.list)),
    explain: may("access.check").meta(rest("GET /access/explain", "Why somebody may or may not"))
      .input(explanations.Explain).output(explanations.Explained)
      .query(call(explanations.explain)),
  }),
};
