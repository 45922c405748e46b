/** Lists, a page at a time: newest first, the last id of a page is the cursor of the next. */
import { z } from "zod";

export const MAX_PAGE = 100;

/** The fields every list takes. */
export const page = {
  cursor: z.uuid("Give the next_cursor of the page before").optional(),
  limit: z.int().min(1).max(MAX_PAGE).default(50),
};

/** The field every list answers beside its rows. */
export const nextCursor = z.uuid().nullable();

/** Splits `limit + 1` rows into a page and the cursor of the next, which is null on the last. */
export function pageOf<T extends { id: string }>(rows: T[], limit: number) {
  const items = rows.slice(0, limit);
  return { items, nextCursor: rows.length > limit ? items.at(-1)?.id ?? null : null };
}
