/** What the database keeps of the tree, compared with what follows from each tenant's parent alone. */
type Row = Record<string, unknown>;
type Place = { parent: string | null; status: string; inherits: boolean };

/** From a tenant up: itself first, the root last. */
function lineOf(places: Map<string, Place>, id: string): string[] {
  const line: string[] = [];
  for (let at: string | null = id; at !== null; at = places.get(at)?.parent ?? null) {
    if (line.includes(at)) throw new Error(`${id} lies in a circle: ${line}`);
    line.push(at);
  }
  return line;
}

/** Every difference, in words; none when all that is kept is true. */
export async function treeFaults(ask: (text: string) => Promise<Row[]>): Promise<string[]> {
  const rows = await ask("select * from tenants");
  const places = new Map(rows.map((row): [string, Place] => [String(row.id), {
    parent: row.parent_id === null ? null : String(row.parent_id),
    status: String(row.status),
    inherits: row.inherits_access === true,
  }]));
  const kept = await ask("select tenant_id, ancestor_id, depth from tenant_closure");
  const closure = new Set(kept.map((row) => `${row.tenant_id} ${row.ancestor_id} ${row.depth}`));
  const faults: string[] = [];
  let pairs = 0;
  for (const row of rows) {
    const id = String(row.id);
    const line = lineOf(places, id);
    pairs += line.length;
    line.forEach((ancestor, depth) => {
      if (!closure.has(`${id} ${ancestor} ${depth}`)) {
        faults.push(`${ancestor} is missing above ${id}`);
      }
    });
    const level = line.length - 1;
    const barrier = line.findIndex((above) => places.get(above)?.inherits === false);
    const expected = {
      level,
      is_open: line.every((above) => places.get(above)?.status === "active"),
      barrier_level: barrier < 0 ? 0 : level - barrier,
    };
    for (const [name, value] of Object.entries(expected)) {
      if (row[name] !== value) faults.push(`${id}: ${name} is ${row[name]} and should be ${value}`);
    }
  }
  if (closure.size !== pairs) faults.push(`${closure.size} pairs are kept of ${pairs}`);
  return faults;
}
