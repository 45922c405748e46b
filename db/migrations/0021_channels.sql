CREATE TABLE "channel_chats" (
	"tenant_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"schema_version" smallint DEFAULT 1 NOT NULL,
	"channel_id" uuid NOT NULL,
	"chat_key" text NOT NULL,
	"due_at" timestamp (3) with time zone,
	"holder" uuid,
	"held_until" timestamp (3) with time zone,
	CONSTRAINT "channel_chats_tenant_id_id_pk" PRIMARY KEY("tenant_id","id"),
	CONSTRAINT "idx_channel_chats_chat_key" UNIQUE("tenant_id","channel_id","chat_key")
);
--> statement-breakpoint
ALTER TABLE "channel_chats" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
DROP INDEX "idx_channel_updates_due_at";--> statement-breakpoint
DROP INDEX "idx_channel_updates_chat";--> statement-breakpoint
ALTER TABLE "channels" ADD COLUMN "previous_secret" "sealed";--> statement-breakpoint
ALTER TABLE "channels" ADD COLUMN "previous_secret_until" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "channel_chats" ADD CONSTRAINT "channel_chats_tenant_id_channel_id_channels_tenant_id_id_fk" FOREIGN KEY ("tenant_id","channel_id") REFERENCES "public"."channels"("tenant_id","id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "idx_channel_chats_due_at" ON "channel_chats" USING btree ("due_at") WHERE due_at is not null;--> statement-breakpoint
CREATE INDEX "idx_channel_updates_state" ON "channel_updates" USING btree ("tenant_id","channel_id","state","id");--> statement-breakpoint
CREATE INDEX "idx_channel_updates_chat" ON "channel_updates" USING btree ("tenant_id","channel_id","chat_key","position","id") WHERE state = 'received';--> statement-breakpoint
ALTER TABLE "channel_updates" DROP COLUMN "due_at";--> statement-breakpoint
ALTER TABLE "channel_updates" DROP COLUMN "holder";--> statement-breakpoint
ALTER TABLE "channel_updates" DROP COLUMN "held_until";--> statement-breakpoint
CREATE POLICY "tenant_only" ON "channel_chats" AS PERMISSIVE FOR ALL TO public USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
--> statement-breakpoint
-- A chat is held as a whole, so that an update which comes late and belongs before another waits for it.
alter table channel_chats force row level security;
grant select, insert, update on channel_chats to switchboard_service;
grant select on channel_chats to switchboard_worker;
create policy worker_reads on channel_chats for select to switchboard_worker using (true);

do $$
declare
  all_of_them uuid[];
  t uuid;
begin
  perform set_config('app.tenant_id', '00000000-0000-7000-8000-000000000001', true);
  select array_agg(id) into all_of_them from tenants;
  foreach t in array coalesce(all_of_them, '{}') loop
    perform set_config('app.tenant_id', t::text, true);
    insert into channel_chats (tenant_id, id, channel_id, chat_key, due_at)
    select tenant_id, gen_random_uuid(), channel_id, chat_key, now() from channel_updates
    where tenant_id = t and state = 'received' group by 1, 3, 4;
  end loop;
  perform set_config('app.tenant_id', '', true);
end $$;

-- A webhook names the channel alone. `is_open`: it, its team and its tenant are in use.
drop function channel_by_id(uuid);
create function channel_by_id(wanted uuid)
returns table (
  tenant_id uuid, team_id uuid, kind text, api_root text, bot_name text, token text, secret text,
  previous_secret text, is_open boolean
) language plpgsql stable security definer set search_path = pg_catalog, public as $$
begin
  return query select c.tenant_id, c.team_id, c.kind, c.api_root, c.bot_name, c.token::text, c.secret::text,
    case when c.previous_secret_until > now() then c.previous_secret::text end,
    c.is_active and t.is_active and tenant_is_open(c.tenant_id)
  from channels c join teams t on t.tenant_id = c.tenant_id and t.id = c.team_id where c.id = wanted;
end $$;

-- Chats with something to work off that nobody is at, the longest waiting first; those of `busy` tenants wait.
drop function chats_due(integer);
create function chats_due(most integer, busy uuid[])
returns table (tenant_id uuid, channel_id uuid, chat_key text)
language plpgsql stable security definer set search_path = pg_catalog, public as $$
begin
  return query select c.tenant_id, c.channel_id, c.chat_key from channel_chats c
  where c.due_at <= now() and coalesce(c.held_until < now(), true) and c.tenant_id <> all(busy)
  order by c.due_at limit least(most, 1000);
end $$;

grant create on schema public to switchboard_worker;
do $$
declare f regprocedure;
begin
  for f in select oid::regprocedure from pg_proc where pronamespace = 'public'::regnamespace
    and proname in ('channel_by_id', 'chats_due')
  loop
    execute format('alter function %s owner to switchboard_worker', f);
    execute format('revoke all on function %s from public', f);
    execute format('grant execute on function %s to switchboard_service', f);
  end loop;
end $$;
revoke create on schema public from switchboard_worker;
