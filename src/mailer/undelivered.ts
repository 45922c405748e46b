/** Why a message did not leave, in words that hold nothing of it: what a server says may quote it. */
export class Undelivered extends Error {
  override name = "Undelivered";
  constructor(
    readonly why: string,
    /** Trying again may help. */
    readonly isPassing: boolean,
  ) {
    super(why);
  }
}
