-- Who is here already is believed to read their mailbox; who comes from now on shows it. A default fills the rows that
-- are there without a backfill.
alter table users add column is_email_shown boolean not null default true;
alter table users alter column is_email_shown set default false;
alter table users add column holder_version integer not null default 1;
alter table oauth_flows add column holder_version integer not null default 1;
alter table user_platform_bindings add column holder_version integer not null default 1;
alter table user_identities add column is_doubted boolean not null default false;
