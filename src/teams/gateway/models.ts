/** The models a team may use, as OpenAI lists them. */
import type { TenantCtx } from "../../context.ts";
import type { Effective } from "../effective.ts";
import { ownersOf } from "./routes.ts";

export type Model = { id: string; object: "model"; created: number; owned_by: string };

/** In the team's own order, its default first; each owned by the upstream that serves it. */
export async function modelsOf(ctx: TenantCtx, effective: Effective): Promise<Model[]> {
  const { model, availableModels } = effective;
  const ids = [...new Set([model, ...availableModels])].filter((id) =>
    availableModels.includes(id)
  );
  const owners = await ownersOf(ctx, ids);
  return ids.map((id) => ({
    id,
    object: "model",
    created: 0,
    owned_by: owners.get(id) ?? "nobody at present",
  }));
}
