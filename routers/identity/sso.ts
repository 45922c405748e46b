/** Identity providers, and signing in through them. */

export const ssoRouters = {};
