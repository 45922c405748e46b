/** The OpenAPI document of this service: its procedures, and the few routes that are none. */
import { pathItems as channelUpdates } from "./channel_updates.ts";
import { appRouter } from "./mod.ts";
import { pathItems as callback } from "./oauth_callback.ts";
import { components, pathItems as gateway } from "./openai_document.ts";
import { type Document, openApiOf } from "./openapi.ts";
import { pathItems as proxy } from "./proxy.ts";
import type { Json } from "./schemas.ts";
import { pathItems as ssoCallback } from "./sso_callback.ts";
import { pathItems as usageCsv } from "./usage_csv.ts";

export const VERSION = "0.1.0";

/** These ask for nothing and are counted by nobody: only a bug can make them fail. */
const broken = { 500: { $ref: "#/components/responses/InternalError" } };

const word = { type: "string", maxLength: 64, pattern: "^[A-Za-z0-9_ -]*$" };
const answer = (description: string, properties: Json): Json => ({
  description,
  content: { "application/json": { schema: { type: "object", properties } } },
});
const open = (operationId: string, tag: string, summary: string, description: string): Json => ({
  operationId,
  tags: [tag],
  summary,
  description,
  security: [{}],
});

const health: Record<string, Json> = {
  "/health": {
    get: {
      ...open("health", "machinery", "Is the process up", "Answers without asking anything else."),
      responses: { 200: answer("It is", { status: word }), ...broken },
    },
  },
  "/ready": {
    get: {
      ...open("ready", "machinery", "Can it serve", "Asks the database, for two seconds at most."),
      responses: {
        200: answer("It can", {
          status: word,
          database: word,
          partitions: { type: "boolean", description: "Next month's partitions are there." },
        }),
        503: answer("It cannot: the database does not answer", { status: word, database: word }),
        ...broken,
      },
    },
  },
  "/.well-known/jwks.json": {
    get: {
      ...open("jwks", "machinery", "The keys tokens are signed with", "RFC 7517."),
      responses: {
        200: answer("The public keys", {
          keys: {
            type: "array",
            maxItems: 8,
            items: {
              type: "object",
              properties: { kty: word, crv: word, x: word, kid: word, alg: word, use: word },
            },
          },
        }),
        ...broken,
      },
    },
  },
};

/** Made once by whoever serves it. */
export const openApi = (serverUrl: string): Document =>
  openApiOf(appRouter, {
    version: VERSION,
    serverUrl,
    contact: {
      name: "Switchboard's operators",
      url: serverUrl,
      email: "operators@switchboard.example",
    },
    license: { name: "Apache-2.0", url: "https://www.apache.org/licenses/LICENSE-2.0" },
    domains: {
      identity:
        "Tenants in tenants, people, groups, roles and keys; signing in; who may do what and " +
        "why. A right that is taken away is gone in every process within 5 seconds.",
      platforms: "The catalogue, a tenant's services and credentials, and connected accounts.",
      teams:
        "Who chats, with which models and limits: teams, their keys, where models are served and " +
        "what they cost; and OpenAI's own paths, for any of its clients with a team's key.",
      chat: "Say something to a team, and read what was said: conversations and their messages.",
      audit: "Who did what to which thing.",
      events: "What other services are told of.",
    },
    more: {
      // They ask a provider. A refresh that gets no answer in time answers 503: it goes on later.
      "platforms.bindings.accessToken": [502],
      "platforms.connections.complete": [502, 504],
      "identity.identityProviders.test": [502, 504],
      "identity.sso.start": [502, 504],
      "identity.sso.complete": [502, 504],
      "chat.send": [502, 504],
      "teams.channels.connect": [502],
      "teams.teams.effective": [404], // Asked for by an id that nobody has.
    },
    extra: {
      paths: {
        ...health,
        ...callback,
        ...ssoCallback,
        ...proxy,
        ...gateway,
        ...channelUpdates,
        ...usageCsv,
      },
      components,
      tags: [{
        name: "machinery",
        description: "For operators: is it up, and which keys it signs with.",
      }],
    },
  });
