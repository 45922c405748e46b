/** Microsoft's directories: where the people of one company sign in. */

/**
 * The address with the registration's own directory (S1's `config.tenant_id`) in place of the
 * shared one. An app that Microsoft knows in one directory alone is refused at `common` and
 * `organizations`, so both its authorization and its token endpoint have to name that directory.
 */
export function directoryUrl(url: string | null, directory: string | null): string | null {
  if (url === null || !directory || /^\.{1,2}$/.test(directory)) return url;
  return url.replace(
    /^(https:\/\/login\.microsoftonline\.com\/)(?:common|organizations)(?=\/)/i,
    (_, host: string) => host + encodeURIComponent(directory),
  );
}
