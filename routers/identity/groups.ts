/** Groups, roles, and who has which role where. */

export const groupRouters = {};
