/** An object of any kind, lists too, whose members are still to be looked at. */
export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null;
