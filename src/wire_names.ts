/** The names fields have outside TypeScript. */

/** `clientId` is `client_id`, `oauth2Url` is `oauth2_url`. */
export const snake = (key: string): string =>
  key.replace(/([a-z0-9])([A-Z])/g, "$1_$2").toLowerCase();

/** An object with its own fields so named; what lies in them is left alone. */
export const snakeFields = (row: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(row).map(([name, value]) => [snake(name), value]));
