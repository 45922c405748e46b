/** From rows to values: the first row of an answer, and the columns a view shows. */
import { getTableColumns, type Table } from "drizzle-orm";
import type { z } from "zod";
import { type FaultCode, notFound } from "./errors.ts";

/** Absent means a bug here: the statement cannot have touched nothing. */
export function one<T>([row]: T[]): T {
  if (row === undefined) throw new Error("Expected one row and got none");
  return row;
}

/** Absent means the caller asked for something that is not theirs, or is not there. */
export function found<T>([row]: T[], noun: string, code?: FaultCode): T {
  if (row === undefined) throw notFound(noun, code);
  return row;
}

type Columns<T extends Table, V> = Pick<T["_"]["columns"], keyof V & keyof T["_"]["columns"]>;

/** The columns a view names, so that what is selected, typed and documented is one definition. */
export function columnsOf<T extends Table, V extends z.ZodRawShape>(
  table: T,
  view: z.ZodObject<V>,
): Columns<T, V> {
  const columns: T["_"]["columns"] = getTableColumns(table);
  const named = Object.keys(view.shape).filter((name) => name in columns);
  // Picking by name keeps each column's type; Object.fromEntries alone forgets it.
  return Object.fromEntries(named.map((name) => [name, columns[name]])) as Columns<T, V>;
}

/** The fields of `input` that were given: absent leaves a column as it is, null clears it. */
export function given<T extends object>(input: T): Partial<T> {
  const entries = Object.entries(input).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Partial<T>;
}
