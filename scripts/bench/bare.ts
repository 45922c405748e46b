/** The baseline: a bare Hono app with one tRPC ping, on the same runtime and transformer. */
import { initTRPC } from "@trpc/server";
import { fetchRequestHandler } from "@trpc/server/adapters/fetch";
import { Hono } from "hono";
import superjson from "superjson";

const t = initTRPC.create({ transformer: superjson, isDev: false });
const router = t.router({ ping: t.procedure.query(() => ({ pong: true, at: new Date(0) })) });

const app = new Hono();
app.get("/health", (c) => c.json({ status: "ok" }));
app.all(
  "/trpc/*",
  (c) =>
    fetchRequestHandler({ endpoint: "/trpc", req: c.req.raw, router, createContext: () => ({}) }),
);

export default { fetch: app.fetch };
