/** People: users, invitations, forgotten passwords, names other systems have for them. */

export const peopleRouters = {};
