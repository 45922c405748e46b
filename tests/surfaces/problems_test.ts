import assert from "node:assert/strict";
import { TRPCError } from "@trpc/server";
import { HTTPException } from "hono/http-exception";
import { z } from "zod";
import { Fault, faults } from "../../src/errors.ts";
import { problemOf } from "../../routers/problems.ts";

const fieldsOf = (schema: z.ZodType, value: unknown) => {
  const { error } = schema.safeParse(value);
  const { body } = problemOf(error, "r");
  return Object.fromEntries((body.errors ?? []).map(({ field, message }) => [field, message]));
};

Deno.test("problemOf says what a Fault says, with its headers", () => {
  const fault = new Fault("RateLimited", "team.too_fast", "Slow down", { retryAfterSeconds: 1.2 });
  for (const error of [fault, new TRPCError({ code: "INTERNAL_SERVER_ERROR", cause: fault })]) {
    const { status, body, headers } = problemOf(error, "req-1");
    assert.equal(status, 429);
    assert.equal(headers["retry-after"], "2");
    assert.deepEqual(body, {
      type: "/problems/RateLimited",
      title: faults.RateLimited.title,
      status: 429,
      detail: "Slow down",
      code: "RateLimited",
      reason: "team.too_fast",
      request_id: "req-1",
    });
  }
  const unauthorized = problemOf(new Fault("Unauthorized", "token.expired", "Sign in"), "r");
  assert.equal(unauthorized.headers["www-authenticate"], "Bearer");
});

Deno.test("problemOf says nothing of bugs", () => {
  const broken = z.object({ a: z.string() }).safeParse({ a: 1 }).error;
  const bugs = [
    new Error("select secret"),
    new TRPCError({ code: "INTERNAL_SERVER_ERROR", message: "secret" }),
    new TRPCError({ code: "INTERNAL_SERVER_ERROR", message: "secret", cause: broken }),
    new HTTPException(500, { message: "secret" }),
    "secret",
    null,
  ];
  for (const bug of bugs) {
    const { status, body } = problemOf(bug, "req-1");
    assert.deepEqual([status, body.code, body.request_id], [500, "InternalError", "req-1"]);
    assert.doesNotMatch(JSON.stringify(body), /secret/);
  }
});

Deno.test("problemOf knows tRPC's and Hono's own refusals, without their causes' words", () => {
  const cause = new Error("near: hunter2");
  const parse = problemOf(new TRPCError({ code: "PARSE_ERROR", message: "hunter2", cause }), "r");
  assert.deepEqual([parse.status, parse.body.code], [400, "ValidationError"]);
  assert.doesNotMatch(JSON.stringify(parse.body), /hunter2/);
  assert.equal(problemOf(new TRPCError({ code: "FORBIDDEN", message: "No" }), "r").status, 403);
  assert.equal(problemOf(new HTTPException(413), "r").body.code, "PayloadTooLarge");
});

Deno.test("problemOf says what would be right, field by field", () => {
  const schema = z.strictObject({
    name: z.string().min(1).max(3),
    id: z.uuid(),
    kind: z.enum(["a", "b"]),
    on: z.boolean(),
    at: z.date(),
    count: z.int().min(1).max(100),
    list: z.array(z.string()).max(1),
    even: z.string().refine((text) => text.length % 2 === 0, "must have an even length"),
    mail: z.email("must be your e-mail address"),
    step: z.number().multipleOf(5),
  });
  assert.deepEqual(
    fieldsOf(schema, {
      name: "",
      id: "x",
      kind: "c",
      on: "x",
      at: "x",
      count: 0,
      list: ["a", "b"],
      even: "abc",
      mail: "x",
      step: 3,
      extra: 1,
    }),
    {
      name: "must have at least 1 character",
      id: "must be a UUID",
      kind: 'must be one of "a", "b"',
      on: "must be true or false",
      at: "must be a date and time such as 2026-11-22T10:00:00Z or 20261122100000 (UTC)",
      count: "must be at least 1",
      list: "must have at most 1 item",
      even: "must have an even length",
      mail: "must be your e-mail address",
      step: "must be a multiple of 5",
      extra: "`extra` is not a field of this request",
    },
  );
  assert.deepEqual(fieldsOf(schema.pick({ name: true, count: true }), { name: "abcd" }), {
    name: "must have at most 3 characters",
    count: "is required",
  });
});

Deno.test("problemOf looks into the union's form that came nearest", () => {
  const schema = z.object({
    u: z.union([z.object({ a: z.string() }), z.date()]),
    d: z.discriminatedUnion("k", [
      z.object({ k: z.literal("x") }),
      z.object({ k: z.literal("y") }),
    ]),
  });
  assert.deepEqual(fieldsOf(schema, { u: { a: 1 }, d: { k: "z" } }), {
    "u.a": "must be text",
    "d.k": 'must be one of "x", "y"',
  });
});

Deno.test("problemOf names no more than fifty fields and repeats no values", () => {
  const { error } = z.array(z.int()).safeParse(Array(1000).fill("hunter2"));
  const { body } = problemOf(error, "r");
  assert.equal(body.errors?.length, 50);
  assert.doesNotMatch(JSON.stringify(body), /hunter2/);
  assert.match(body.detail, /and 47 more/);
});
