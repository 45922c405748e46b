/** Names where a sealed value stands by its column, so that no name is spelled by hand. */
import { toSnakeCase } from "drizzle-orm/casing";
import { getTableName } from "drizzle-orm";
import type { PgColumn } from "drizzle-orm/pg-core";
import type { Spot } from "./vault.ts";

/** `at(platformCredentials.clientSecret, id)`. Rotation finds values by the same names. */
export function at(column: PgColumn, row: string): Spot {
  if (column.getSQLType() !== "sealed") throw new Error(`${column.name} is not a sealed column`);
  const name = column.keyAsName ? toSnakeCase(column.name) : column.name;
  return { table: getTableName(column.table), row, column: name };
}
