/** PgBouncer in transaction mode in front of a Postgres, as many hosts put it there. */
import {
  folderFor,
  freePort,
  isListening,
  leash,
  programPath,
  unprivileged,
  untilReady,
  writeFor,
} from "./processes.ts";

export interface PgBouncer extends AsyncDisposable {
  /** The login and database it was started for, through the pooler. */
  readonly url: string;
  /** Another database or login of the same server, through the pooler. */
  through(postgresUrl: string): string;
  stop(): Promise<void>;
}

export const hasPgBouncer = (): boolean => programPath("pgbouncer") !== undefined;

/** The first URL names the server; every login that is to pass must be among the URLs. */
export async function pgbouncer(
  postgresUrl: string,
  options: { alsoFor?: string[]; poolSize?: number } = {},
): Promise<PgBouncer> {
  const program = programPath("pgbouncer");
  if (program === undefined) throw new Error("PgBouncer is not installed");
  const account = unprivileged();
  const folder = await folderFor(account, "switchboard-pgbouncer-");
  const port = freePort();
  const target = new URL(postgresUrl);
  const logins = [postgresUrl, ...options.alsoFor ?? []].map((url) => new URL(url));
  await writeFor(account, `${folder}/users.txt`, logins.map(userLine).join(""));
  await writeFor(
    account,
    `${folder}/pgbouncer.ini`,
    [
      "[databases]",
      `* = host=${target.hostname} port=${target.port || "5432"}`,
      "[pgbouncer]",
      "listen_addr = 127.0.0.1",
      `listen_port = ${port}`,
      "unix_socket_dir =",
      "auth_type = scram-sha-256",
      `auth_file = ${folder}/users.txt`,
      "pool_mode = transaction",
      "max_client_conn = 500",
      `default_pool_size = ${options.poolSize ?? 20}`,
      "",
    ].join("\n"),
  );
  const server = leash([program, `${folder}/pgbouncer.ini`], { folder, account, signal: "TERM" });
  await untilReady(server, () => isListening(port));
  const through = (url: string) => {
    const pooled = new URL(url);
    pooled.hostname = "127.0.0.1";
    pooled.port = String(port);
    return pooled.href;
  };
  return {
    url: through(postgresUrl),
    through,
    stop: server.stop,
    [Symbol.asyncDispose]: server.stop,
  };
}

function userLine(url: URL): string {
  const quote = (text: string) => `"${decodeURIComponent(text).replaceAll('"', '""')}"`;
  return `${quote(url.username)} ${quote(url.password)}\n`;
}
