/**
 * Statements that a session parses and describes once. The driver's own query has the server look up
 * what its columns are each time, and reads that anew; this one remembers it with the session.
 */
import type { Connection, CustomTypesConfig, PoolClient } from "@neondatabase/serverless";
import { SQL, sql } from "drizzle-orm";

export type Row = Record<string, unknown>;
type Parse = (text: string) => unknown;
type Columns = readonly { name: string; parse: Parse }[];
type Field = { name: string; dataTypeID: number };
type Done = (error: unknown, rows?: Row[]) => void;

/** Kinds of values that are their own text. */
type Value = string | number | boolean | null;

/** What a name stands for, which is its text's alone, and what is put for `$1`, `$2` and so on. */
export type Named = { name: string; text: string; values: readonly Value[] };

export const isNamed = (statement: SQL | Named): statement is Named => !(statement instanceof SQL);

/** The same for a session that knows no names. */
export function unnamed({ text, values }: Named): SQL {
  const pieces = text.split(/\$(\d+)/).map((piece, n) =>
    n % 2 === 0 ? sql.raw(piece) : sql`${values[Number(piece) - 1]}`
  );
  return sql.join(pieces);
}

const described = new WeakMap<Connection, Map<string, Columns>>();

const written = (value: Value) =>
  value === null || typeof value === "string" ? value : String(value);

const encoder = new TextEncoder();

/** Writes a text and answers its bytes; by hand while it is ASCII, as nearly all of them are. */
function put(text: string, bytes: Uint8Array, at: number): number {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 127) return i + encoder.encodeInto(text.slice(i), bytes.subarray(at + i)).written;
    bytes[at + i] = code;
  }
  return text.length;
}

/**
 * Bind, Execute and Sync of what is parsed already, all values and columns as texts (PostgreSQL, 55.7),
 * in one piece: the driver puts them together from a buffer each.
 */
function execution(name: string, values: readonly (string | null)[]): Uint8Array<ArrayBuffer> {
  const letters = values.reduce((sum, value) => sum + (value?.length ?? 0), name.length);
  const bytes = new Uint8Array(32 + 4 * values.length + 3 * letters);
  const view = new DataView(bytes.buffer);
  bytes[0] = 66; // B, of the unnamed portal.
  let at = 6;
  at += put(name, bytes, at) + 3; // Its end, and no formats: everything is text.
  view.setInt16(at, values.length);
  at += 2;
  for (const value of values) {
    const length = value === null ? -1 : put(value, bytes, at + 4);
    view.setInt32(at, length);
    at += 4 + Math.max(0, length);
  }
  at += 2; // No formats of columns either.
  view.setInt32(1, at - 1);
  bytes[at] = 69; // E, of the same portal, for all its rows.
  view.setInt32(at + 1, 9);
  bytes[at + 10] = 83; // S
  view.setInt32(at + 11, 4);
  return bytes.subarray(0, at + 15);
}

/**
 * One execution, in the shape that the driver lets others bring (pg's Submittable, as pg-cursor is one).
 * PostgreSQL, 54.2.3: Parse and Describe once, then Bind, Execute and Sync.
 */
class NamedQuery {
  readonly #named: Named;
  readonly #types: CustomTypesConfig;
  readonly #rows: Row[] = [];
  #columns: Columns = [];
  #connection: Connection | undefined;
  #failure: unknown;
  /** The driver puts its time limit around it, where it has one. */
  callback: Done;

  constructor(named: Named, types: CustomTypesConfig, done: Done) {
    this.#named = named;
    this.#types = types;
    this.callback = done;
  }

  submit = (connection: Connection) => {
    const { name, text } = this.#named;
    const values = this.#named.values.map(written);
    const known = described.get(connection)?.get(name);
    this.#connection = connection;
    this.#columns = known ?? [];
    if (known) return void connection.stream.write(execution(name, values));
    connection.stream.cork?.();
    connection.close({ type: "S", name }, true); // What failed before may have left it there.
    connection.parse({ name, text, types: [] }, true);
    connection.bind({ statement: name, values }, true);
    connection.describe({ type: "P", name: "" }, true);
    connection.execute(null, true);
    connection.sync();
    connection.stream.uncork?.();
  };

  handleRowDescription({ fields }: { fields: readonly Field[] }) {
    this.#columns = fields.map(({ name, dataTypeID }) => ({
      name,
      parse: this.#types.getTypeParser(dataTypeID, "text"),
    }));
  }

  handleDataRow({ fields }: { fields: readonly (string | null)[] }) {
    const row: Row = {};
    try {
      let place = 0;
      for (const { name, parse } of this.#columns) {
        const text = fields[place++] ?? null;
        row[name] = text === null ? null : parse(text);
      }
      this.#rows.push(row);
    } catch (error) {
      this.#failure ??= error;
    }
  }

  /** It went well: whoever names it next knows its columns. */
  handleCommandComplete() {
    const connection = this.#connection;
    if (!connection) return;
    const known = described.get(connection) ?? new Map<string, Columns>();
    known.set(this.#named.name, this.#columns);
    described.set(connection, known);
  }

  handleReadyForQuery() {
    if (this.#failure) this.callback(this.#failure);
    else this.callback(null, this.#rows);
  }

  handleError(error: unknown) {
    this.callback(error);
  }

  handlePortalSuspended() {}
  handleEmptyQuery() {}
}

/** Asks over one session. Rejects with what the driver does. */
export const askNamed = (client: PoolClient, named: Named, types: CustomTypesConfig) =>
  new Promise<Row[]>((resolve, reject) => {
    client.query(
      new NamedQuery(named, types, (error, rows = []) => error ? reject(error) : resolve(rows)),
    );
  });
