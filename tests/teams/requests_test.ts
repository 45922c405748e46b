/** What we change of a request is all that changes, and no model comes in by a side door. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { Fault } from "../../src/errors.ts";
import { type Effective, resolve } from "../../src/teams/effective.ts";
import { elementsOf, membersOf, withMembers } from "../../src/teams/gateway/json_text.ts";
import { readRequest, textFor, tokensOf } from "../../src/teams/gateway/requests.ts";
import type { PlatformConfig } from "../../src/teams/platform_configs.ts";
import { hello, models } from "./house.ts";
import {
  escapedKey,
  textOfObject,
  valueText,
  type Written,
  written,
  writtenObject,
} from "./json_texts.ts";
import { runs } from "./seeds.ts";

const [allowed, second] = models;
const config: PlatformConfig = {
  id: "0",
  platformType: "private",
  defaultModel: allowed,
  availableModels: [allowed, second],
  rateLimit: 60,
  maxHistory: 30,
  allowModelSwitch: true,
  requiresAuth: true,
  commands: [],
  createdAt: new Date(0),
  updatedAt: new Date(0),
};
const effective: Effective = resolve(null, "any", config);
const read = (text: string) => readRequest("chat.completions", text, effective);
const keyOf = ({ keyText }: Written) => String(JSON.parse(keyText));

Deno.test("membersOf finds every member of any object, each exactly where it stands", () => {
  fc.assert(
    fc.property(writtenObject(written()), (object) => {
      const text = textOfObject(object);
      const found = membersOf(text);
      assert.deepEqual(found.map(({ key }) => key), object.members.map(keyOf));
      for (const [at, { start, from, to }] of found.entries()) {
        assert.equal(text.slice(from, to), object.members[at]?.valueText);
        assert.ok(text.slice(start).startsWith(object.members[at]?.keyText ?? "?"));
      }
      // V8 takes a key of one escaped character for a backslash where such a one stood before.
      if (/"\\(?:[^u]|u[0-9a-fA-F]{4})"\s*:/.test(text)) return;
      const last = Object.fromEntries(
        found.map(({ key, from, to }) => [key, JSON.parse(text.slice(from, to))]),
      );
      assert.deepEqual(last, JSON.parse(text));
    }),
    runs(600),
  );
});

Deno.test("withMembers changes the members it is told, and not one byte besides", () => {
  const values = fc.dictionary(
    fc.constantFrom("model", "models", "stream_options", "messages"),
    valueText,
  );
  const keys = fc.oneof(fc.constantFrom("model", "messages", "other").map(JSON.stringify));
  const members = fc.oneof(written(), written(keys));
  fc.assert(
    fc.property(writtenObject(members), values, (object, values) => {
      const text = textOfObject(object);
      const left = new Map(Object.entries(values));
      const changed = object.members.map((member) => {
        const key = keyOf(member);
        const valueText = left.get(key) ?? member.valueText;
        left.delete(key);
        return { ...member, valueText };
      });
      const added = [...left].map(([key, value]) => `${JSON.stringify(key)}:${value}`).join(",");
      const comma = added !== "" && changed.length > 0 ? "," : "";
      assert.equal(
        withMembers(text, membersOf(text), values),
        textOfObject({ ...object, members: changed }, comma + added),
      );
    }),
    runs(600),
  );
});

Deno.test("elementsOf finds every element of any list, exactly where it stands", () => {
  const list = fc.array(fc.tuple(fc.constantFrom("", " ", "\r\n\t"), valueText));
  fc.assert(
    fc.property(list, (list) => {
      const text = `[${list.map(([space, text]) => space + text + space).join(",")}]`;
      const found = elementsOf(text, 0).map(({ from, to }) => text.slice(from, to));
      assert.deepEqual(found, list.map(([, text]) => text));
    }),
    runs(300),
  );
});

Deno.test("textFor leaves all but the model as it came, whatever it is", () => {
  const content = written(fc.constant('"messages"'), fc.constant('[ {"role":"user" } ]'));
  const unknown = written().filter((member) => {
    const key = keyOf(member).toUpperCase().toLowerCase();
    return !/models?$|fallback/.test(key) &&
      !["stream", "stream_options", "messages", "input", "user"].includes(key);
  });
  const model = fc.option(
    written(escapedKey("model"), fc.constantFrom(`"${allowed}"`, '"openai\\/gpt-4"')),
  );
  fc.assert(
    fc.property(writtenObject(unknown), content, model, (object, content, model) => {
      const keys = object.members.map(keyOf);
      fc.pre(new Set(keys).size === keys.length);
      const members = [...object.members, content, ...model ? [model] : []];
      const request = read(textOfObject({ ...object, members }));
      assert.equal(request.model, model ? JSON.parse(model.valueText) : allowed);
      const named = members.map((member) =>
        member === model ? { ...member, valueText: '"as the upstream says"' } : member
      );
      assert.equal(
        textFor(request, { name: "as the upstream says", names: null }),
        textOfObject(
          { ...object, members: named },
          model ? "" : ',"model":"as the upstream says"',
        ),
      );
    }),
    runs(300),
  );
});

/** The members any reader could take for one of `names`: Go's folds letters, others do not. */
const taken = (text: string, ...names: string[]) =>
  membersOf(text).filter(({ key }) => names.includes(key.toUpperCase().toLowerCase()));

Deno.test("readRequest lets no model by that the team may not use, however it is written", () => {
  const secret = "evil/model";
  const folded = (key: string) =>
    fc.array(fc.constantFrom(0, 1, 2), { minLength: key.length, maxLength: key.length })
      .map((how) =>
        [...key].map((sign, at) =>
          how[at] === 1 ? sign.toUpperCase() : how[at] === 2 && sign === "s" ? "ſ" : sign
        ).join("")
      );
  const key = fc.constantFrom("model", "models")
    .chain((key) => fc.oneof(fc.constant(key), folded(key))).chain(escapedKey);
  const value = fc.constantFrom(
    ...[JSON.stringify(secret), `["${secret}"]`, `["${allowed}","${secret}"]`],
    ...[JSON.stringify(allowed), `["${allowed}"]`, `["${second}","${allowed}"]`],
    ...[JSON.stringify(second), JSON.stringify(allowed), `["${allowed}"]`],
    ...[`"evil\\/model"`, `[["${secret}"]]`, `{"id":"${secret}"}`, "null", "7"],
  );
  const messages = written(escapedKey("messages"), fc.constant('[{"role":"user","content":"x"}]'));
  let [let_in, refused] = [0, 0];
  fc.assert(
    fc.property(
      fc.array(written(key, value), { minLength: 1, maxLength: 3 }),
      messages,
      (tries, messages) => {
        const text = textOfObject({
          head: "",
          inner: "",
          tail: "",
          members: [...tries, messages],
        });
        try {
          const request = read(text);
          const sent = textFor(request, { name: request.model, names: request.models });
          assert.equal(taken(sent, "model").length, 1);
          assert.ok(taken(sent, "models").length <= 1);
          assert.ok(!JSON.stringify(JSON.parse(sent)).includes(secret), sent);
          let_in++;
        } catch (error) {
          if (!(error instanceof Fault)) throw error;
          assert.ok(["ValidationError", "ModelNotAllowed"].includes(error.code));
          refused++;
        }
      },
    ),
    runs(2_000),
  );
  assert.ok(let_in > 50 && refused > 50, `${let_in} let in, ${refused} refused`);
});

const refusalOf = (body: unknown) => {
  try {
    read(typeof body === "string" ? body : JSON.stringify(body));
  } catch (error) {
    if (error instanceof Fault) return [error.code, error.more.fields?.[0]?.field ?? null];
    throw error;
  }
  return null;
};

Deno.test("readRequest looks into the fields by which routers take further models", () => {
  const evil = "evil/model";
  const refused: [string, unknown][] = [
    ["models", [allowed, evil]],
    ["fallbacks", [evil]],
    ["fallbacks", [{ model: evil, messages: [] }]],
    ["fallbacks", [{ [allowed]: [second, evil] }]],
    ["context_window_fallbacks", [{ [allowed]: [evil] }]],
    ["fallback_model", evil],
    ["providerOptions", { gateway: { models: [second, evil] } }],
    ["orq", { fallbacks: [{ model: evil }] }],
    ["plugins", [{ id: "auto-router", allowed_models: ["*"] }]],
    ["tools", [{ type: "router:ask", parameters: { Model: evil } }]],
  ];
  for (const [field, value] of refused) {
    assert.deepEqual(refusalOf({ ...hello, [field]: value }), ["ModelNotAllowed", field], field);
  }
  const fine: [string, unknown][] = [
    ["models", [second, allowed]],
    ["models", null],
    ["fallbacks", [second, { model: allowed }]],
    ["provider", { order: [evil], allow_fallbacks: true }],
    ["metadata", { model: evil }],
    ["user", evil],
    ["response_format", { type: "json_schema", json_schema: { schema: { model: evil } } }],
    ["tools", [{ type: "function", function: { name: "f", parameters: { model: evil } } }]],
  ];
  for (const [field, value] of fine) assert.equal(refusalOf({ ...hello, [field]: value }), null);
});

Deno.test("readRequest names the field that is not right", () => {
  const { model, messages } = hello;
  const wrong: [unknown, string | null][] = [
    ["nothing", null],
    ["[]", null],
    ["null", null],
    [`{"model":"${model}"`, null],
    [{ model }, "messages"],
    [{ model, messages: [] }, "messages"],
    [{ model, messages: "hello" }, "messages"],
    [{ model: 7, messages }, "model"],
    [{ model: null, messages }, "model"],
    [{ model, messages, stream: "yes" }, "stream"],
    [{ model, messages, stream_options: [] }, "stream_options"],
    [{ model, messages, models: "all" }, "models"],
    [`{"model":"${model}","messages":[1],"model":"${model}"}`, "model"],
    [`{"Stream":true,"messages":[1]}`, "Stream"],
  ];
  for (const [body, field] of wrong) {
    assert.deepEqual(refusalOf(body), ["ValidationError", field], JSON.stringify(body));
  }
});

Deno.test("readRequest bears what goes deep", () => {
  const deep = "[".repeat(200_000) + "]".repeat(200_000);
  const text = `{"fallbacks":${deep},"messages":[${deep}],"x":${deep}}`;
  const request = read(text);
  assert.equal(
    textFor(request, { name: "m", names: null }),
    text.replace(/}$/, ',"model":"m"}'),
  );
});

Deno.test("tokensOf counts a quarter of the bytes, begun ones whole, and no picture", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme-composite" }), (text) => {
      const bytes = new TextEncoder().encode(text).byteLength;
      if (!text.includes(";base64,")) assert.equal(tokensOf(text), Math.ceil(bytes / 4));
    }),
    runs(200),
  );
  const image = (data: string) => `[{"url":"data:image/png;base64,${data}"}]`;
  assert.equal(tokensOf(image("A".repeat(100_000))), tokensOf('[{"url":""}]'));
});
