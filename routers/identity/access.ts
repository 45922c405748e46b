/** Questions about access: may she, who may, why. */

export const accessRouters = {};
