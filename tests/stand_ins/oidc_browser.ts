/** A person's browser at the provider: follows redirects, keeps cookies, stops at the client. */

export interface Visit {
  /** Who signs in; the provider's default account when left out. */
  account?: string;
  /** Whether the person says no when asked for consent. */
  deny?: boolean;
}

/**
 * Opens the authorization URL and returns the URL the provider sends the browser back to, with
 * `code` and `state`, or `error`. A provider that sends nobody back is an Error with its answer.
 */
export async function authorize(authorizationUrl: string | URL, visit: Visit = {}): Promise<URL> {
  let url = new URL(authorizationUrl);
  const { origin } = url;
  const back = url.searchParams.get("redirect_uri");
  if (visit.account !== undefined) url.searchParams.set("login_hint", visit.account);
  const jar = new Map<string, { name: string; value: string; path: string }>();
  for (let steps = 0; steps < 20; steps++) {
    const { pathname } = url;
    const cookies = [...jar.values()].filter(({ path }) => pathname.startsWith(path));
    const response = await fetch(url, {
      redirect: "manual",
      headers: {
        accept: "text/html",
        cookie: cookies.map(({ name, value }) => `${name}=${value}`).join("; "),
      },
    });
    const text = await response.text();
    for (const line of response.headers.getSetCookie()) keep(jar, line);
    const location = response.headers.get("location");
    if (!location) throw new Error(`The provider answered ${response.status}: ${text}`);
    url = new URL(location, url);
    if (url.origin !== origin || (back !== null && url.href.startsWith(back))) return url;
    if (visit.deny && url.pathname.startsWith("/interaction/")) url.searchParams.set("deny", "1");
  }
  throw new Error("The provider redirected in circles");
}

function keep(jar: Map<string, { name: string; value: string; path: string }>, line: string) {
  const [pair = "", ...attributes] = line.split(";").map((part) => part.trim());
  const [name = "", value = ""] = pair.split(/=(.*)/s);
  const attribute = (wanted: string) =>
    attributes.find((one) => one.toLowerCase().startsWith(`${wanted}=`))?.slice(wanted.length + 1);
  const path = attribute("path") ?? "/";
  const expires = attribute("expires");
  if (expires !== undefined && Date.parse(expires) < Date.now()) jar.delete(`${name} ${path}`);
  else jar.set(`${name} ${path}`, { name, value, path });
}
