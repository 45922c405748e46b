/**
 * The text of a refresh token: `sbr_<tenant>_<session>_<counter>_<mac>`. It carries its tenant, and
 * a MAC under the session's own key covers all of it, so no row is kept per token.
 */
import { createHmac, timingSafeEqual } from "node:crypto";

type Named = { tenantId: string; sessionId: string; counter: number };

const macOf = (head: string, refreshKey: string) =>
  createHmac("sha256", refreshKey).update(head).digest("base64url");

export function newRefreshToken({ tenantId, sessionId, counter }: Named, refreshKey: string) {
  const ids = [tenantId, sessionId].map((id) => id.replaceAll("-", "")).join("_");
  const head = `sbr_${ids}_${counter}`;
  return `${head}_${macOf(head, refreshKey)}`;
}

const shape = /^(sbr_([0-9a-f]{32})_([0-9a-f]{32})_(0|[1-9]\d{0,8}))_([A-Za-z0-9_-]{43})$/;
const dashed = (id: string) => id.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");

/** What a token names, and whether a session's key signed it; null when it is no such token. */
export function readRefreshToken(
  text: string,
): Named & { isSignedWith(refreshKey: string): boolean } | null {
  const [, head, tenant, session, count, mac] = shape.exec(text) ?? [];
  if (!head || !tenant || !session || !count || !mac) return null;
  return {
    tenantId: dashed(tenant),
    sessionId: dashed(session),
    counter: Number(count),
    isSignedWith: (refreshKey) =>
      timingSafeEqual(
        new TextEncoder().encode(macOf(head, refreshKey)),
        new TextEncoder().encode(mac),
      ),
  };
}
