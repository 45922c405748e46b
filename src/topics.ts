/** What is cached, and so what a change must name. */
export type Topic =
  | "platforms"
  | "service_platforms"
  | "bindings"
  | "access"
  | "identity_providers"
  | "teams"
  | "platform_configs"
  | "upstreams"
  | "channels";

/** The tenant that owns the catalogue and the platform's operators. */
export const ROOT_TENANT = "00000000-0000-7000-8000-000000000001";
