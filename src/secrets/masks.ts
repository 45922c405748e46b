/** What stands where a secret is: in every answer, and in a request that leaves the secret as it is. */
export const MASK = "********";
