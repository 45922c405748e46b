/** Messages to people: an invitation, a forgotten password. Sent after the change that caused them is committed. */

export type Mail = { to: string; subject: string; text: string };
export type Mailer = (mail: Mail) => Promise<void>;
