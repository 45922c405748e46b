/** Tenants, their addresses and their domains. */

export const tenantRouters = {};
