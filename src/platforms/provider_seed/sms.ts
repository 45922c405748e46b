/** The text message services a tenant may connect. */

import { basic, bearer, header, keyed, quirks } from "./families.ts";
import type { Provider } from "./shape.ts";

const plain = (provider: Omit<Provider, keyof typeof keyed | "serviceType">): Provider => ({
  ...keyed,
  serviceType: "sms",
  ...provider,
});

export const sms: Provider[] = [
  plain({
    name: "Twilio",
    description: "Text messages through Twilio",
    authKind: "basic",
    userinfoUrl: null,
    apiHosts: [
      "https://api.twilio.com",
      "https://messaging.twilio.com",
      "https://conversations.twilio.com",
      "https://lookups.twilio.com",
    ],
    documentationUrl: "https://www.twilio.com/docs/messaging",
    metadata: { vendor: "Twilio", webhooks: "X-Twilio-Signature" },
    quirks: quirks({
      tokenHeader: basic(),
      notes: ["The client id is the Account SID (or an API key's), the client secret its token."],
    }),
  }),
  plain({
    name: "Vonage",
    description: "Text messages through Vonage, formerly Nexmo",
    authKind: "basic",
    userinfoUrl: null,
    apiHosts: ["https://api.nexmo.com", "https://rest.nexmo.com"],
    documentationUrl: "https://developer.vonage.com/en/messages/overview",
    metadata: { vendor: "Vonage" },
    quirks: quirks({
      tokenHeader: basic(),
      notes: ["The client id is the API key, the client secret the API secret."],
    }),
  }),
  plain({
    name: "Bird",
    description: "Text messages and channels through Bird, formerly MessageBird",
    authKind: "api_key",
    userinfoUrl: null,
    apiHosts: ["https://api.bird.com"],
    documentationUrl: "https://docs.bird.com/api",
    metadata: { vendor: "Bird" },
    quirks: quirks({
      tokenHeader: header("Authorization", "AccessKey "),
      notes: ["Paths carry the workspace's id; keys of the former rest.messagebird.com differ."],
    }),
  }),
  plain({
    name: "Plivo",
    description: "Text messages through Plivo",
    authKind: "basic",
    userinfoUrl: null,
    apiHosts: ["https://api.plivo.com"],
    documentationUrl: "https://www.plivo.com/docs/messaging/",
    metadata: { vendor: "Plivo", webhooks: "X-Plivo-Signature-V3" },
    quirks: quirks({
      tokenHeader: basic(),
      notes: ["The client id is the Auth ID, the client secret the Auth Token."],
    }),
  }),
  plain({
    name: "Sinch",
    description: "Text messages through Sinch's SMS API",
    authKind: "api_key",
    userinfoUrl: null,
    apiHosts: ["https://us.sms.api.sinch.com", "https://eu.sms.api.sinch.com"],
    documentationUrl: "https://developers.sinch.com/docs/sms/",
    metadata: { vendor: "Sinch" },
    quirks: quirks({
      tokenHeader: bearer,
      notes: ["Paths carry the service plan's id; a plan answers in its own region only."],
    }),
  }),
  plain({
    name: "Telnyx",
    description: "Text messages through Telnyx",
    authKind: "api_key",
    userinfoUrl: null,
    apiHosts: ["https://api.telnyx.com"],
    documentationUrl: "https://developers.telnyx.com",
    metadata: { vendor: "Telnyx", webhooks: "telnyx-signature-ed25519" },
    quirks: quirks({ tokenHeader: bearer }),
  }),
  plain({
    name: "ClickSend",
    description: "Text messages through ClickSend",
    authKind: "basic",
    userinfoUrl: "https://rest.clicksend.com/v3/account",
    apiHosts: ["https://rest.clicksend.com"],
    documentationUrl: "https://developers.clicksend.com/docs/",
    metadata: { vendor: "Sinch" },
    quirks: quirks({
      tokenHeader: basic(),
      accountId: "/data/user_id",
      notes: ["The client id is the user name, the client secret the API key."],
    }),
  }),
];
