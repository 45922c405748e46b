-- Admission and settlement: what keeps a quota whole however many processes ask at once. Both are one statement
-- to their caller. Everyone takes the counters' rows first, in their key's order, and leases after them.

-- The types' defaults as S3 gives them; models are for whoever runs the installation to name. Written before the
-- owner, too, is behind the wall.
insert into platform_configs (
  id, platform_type, default_model, available_models, rate_limit, max_history, allow_model_switch, requires_auth, commands)
select id::uuid, platform_type, 'openai/gpt-4o-mini',
  array['openai/gpt-4o-mini', 'openai/gpt-4', 'anthropic/claude-sonnet-4'], rate_limit, max_history, switches, auth,
  array['start', 'help', 'status', 'clear', 'model', 'models']
from (values
  ('00000000-0000-7000-8000-0000000000a1', 'public', 30, 20, false, false),
  ('00000000-0000-7000-8000-0000000000a2', 'private', 60, 30, true, true)
) v (id, platform_type, rate_limit, max_history, switches, auth);

-- Conversations that belong to no team of a customer's: the built-in public team of the root tenant.
create function tenants_found_team() returns trigger language plpgsql set search_path = pg_catalog, public as $$
begin
  insert into teams (tenant_id, id, platform_name, display_name, platform_type)
  values (new.id, '00000000-0000-7000-8000-000000000002', 'telegram', 'Telegram', 'public');
  return null;
end $$;
create trigger tenants_found_team after insert on tenants for each row
  when (new.id = '00000000-0000-7000-8000-000000000001') execute function tenants_found_team();
select set_config('app.tenant_id', '00000000-0000-7000-8000-000000000001', true);
insert into teams (tenant_id, id, platform_name, display_name, platform_type)
select id, '00000000-0000-7000-8000-000000000002', 'telegram', 'Telegram', 'public'
from tenants where id = '00000000-0000-7000-8000-000000000001';
select set_config('app.tenant_id', '', true);

do $$
declare t text;
begin
  foreach t in array array[
    'platform_configs', 'teams', 'upstreams', 'model_prices', 'chat_sessions', 'messages', 'quota_counters',
    'quota_leases', 'usage_logs', 'usage_days', 'channels', 'channel_updates'
  ] loop
    execute format('alter table %I force row level security', t);
  end loop;
end $$;

grant select, insert, update on
  platform_configs, teams, upstreams, model_prices, chat_sessions, messages, channels, channel_updates
to switchboard_service;
grant delete on model_prices to switchboard_service;
-- Written by the functions below alone.
grant select on quota_counters, quota_leases, usage_logs, usage_days to switchboard_service;

grant select on teams, model_prices, channels to switchboard_worker;
grant select, delete on channel_updates to switchboard_worker;
grant select, insert, update on quota_counters, usage_days to switchboard_worker;
grant select, insert, delete on quota_leases to switchboard_worker;
grant select, insert on usage_logs to switchboard_worker;
do $$
declare t text;
begin
  foreach t in array array[
    'teams', 'channels', 'channel_updates', 'quota_counters', 'usage_days', 'quota_leases', 'usage_logs'
  ] loop
    execute format('create policy worker_reads on %I for select to switchboard_worker using (true)', t);
  end loop;
  foreach t in array array['quota_counters', 'usage_days', 'quota_leases', 'usage_logs'] loop
    execute format('create policy worker_writes on %I for insert to switchboard_worker with check (true)', t);
  end loop;
  foreach t in array array['quota_counters', 'usage_days'] loop
    execute format('create policy worker_changes on %I for update to switchboard_worker using (true) with check (true)', t);
  end loop;
end $$;
create policy worker_settles on quota_leases for delete to switchboard_worker using (true);
create policy worker_sweeps on channel_updates for delete to switchboard_worker
  using (state <> 'received' and updated_at < now() - interval '7 days');

-- A counter changes with every request: room for its next version beside it keeps its index out of that.
alter table quota_counters set (fillfactor = 50);

-- The day it is in a zone; in UTC where this server does not know the zone.
create function local_day(moment timestamptz, zone text) returns date language plpgsql stable
set search_path = pg_catalog, public as $$
begin
  return (moment at time zone zone)::date;
exception when invalid_parameter_value then
  return (moment at time zone 'UTC')::date;
end $$;
create function local_midnight(day date, zone text) returns timestamptz language plpgsql stable
set search_path = pg_catalog, public as $$
begin
  return day::timestamp at time zone zone;
exception when invalid_parameter_value then
  return day::timestamp at time zone 'UTC';
end $$;

-- Admits each request asked for, or says why not: `admitted`, `no_team` (none, or not active), `no_key` (revoked or
-- over), `day`, `month` (that quota is used up). `*_left` is what is left after the request; null: without end.
-- Asked again with the same lease, as after a lost answer, it is admitted still and counted once, settled or not.
create function chat_admit(asked jsonb)
returns table (
  place integer, verdict text, day_quota integer, day_left bigint, month_quota integer, month_left bigint,
  day_ends timestamptz, month_ends timestamptz
) language plpgsql volatile security definer set search_path = pg_catalog, public as $$
declare
  standing jsonb;
begin
  -- Which counters they are is said once, so that what is locked is what is counted, whatever changes meanwhile.
  select coalesce(jsonb_agg(jsonb_build_object('tenant', d.tenant, 'team', d.team, 'zone', d.zone,
    'day_on', d.day_on, 'month_on', date_trunc('month', d.day_on)::date)), '[]') into standing
  from (
    select a.tenant, a.team, n.time_zone as zone, local_day(now(), n.time_zone) as day_on
    from (select distinct a.tenant, a.team from jsonb_to_recordset(asked) as a (tenant uuid, team uuid)) a
    join teams t on t.tenant_id = a.tenant and t.id = a.team and t.is_active
    join tenants n on n.id = a.tenant
  ) d;

  -- One way to every lock, in their order, for a counter that is there and one that is made: an update that never
  -- changes anything still locks. Two ways would let two wait for each other on a new day.
  insert into quota_counters as c (tenant_id, team_id, period, starts_on)
  select s.tenant, s.team, p.period, case p.period when 'day' then s.day_on else s.month_on end
  from jsonb_to_recordset(standing) as s (tenant uuid, team uuid, day_on date, month_on date)
  cross join (values ('day'), ('month')) p (period)
  order by 1, 2, 3, 4
  on conflict (tenant_id, team_id, period, starts_on) do update set admitted = c.admitted where false;

  -- The counters are ours until this transaction ends: what is read of them now stays so.
  return query
  with item as (
    select a.*, s.zone, s.day_on, s.month_on, t.daily_quota, t.monthly_quota, t.id is not null as has_team,
      k.id is not null or a.key is null as has_key, l.id is not null or u.id is not null as is_known
    from jsonb_to_recordset(asked) as a (
      place integer, tenant uuid, team uuid, key uuid, lease uuid, session uuid, "user" text, endpoint text,
      model text, tokens integer, request text, seconds integer)
    left join jsonb_to_recordset(standing) as s (tenant uuid, team uuid, zone text, day_on date, month_on date)
      on s.tenant = a.tenant and s.team = a.team
    left join teams t on t.tenant_id = s.tenant and t.id = s.team and t.is_active
    left join api_keys k on k.tenant_id = a.tenant and k.id = a.key and k.revoked_at is null
      and coalesce(k.expires_at > now(), true)
    left join quota_leases l on l.tenant_id = a.tenant and l.id = a.lease
    left join lateral (select g.id from usage_logs g where g.tenant_id = a.tenant and g.id = a.lease limit 1) u on true
  ), ranked as (
    select i.*, case when i.daily_quota is not null then greatest(i.daily_quota - d.admitted, 0) end as day_room,
      case when i.monthly_quota is not null then greatest(i.monthly_quota - m.admitted, 0) end as month_room,
      count(*) filter (where i.has_team and i.has_key and not i.is_known)
        over (partition by i.tenant, i.team order by i.place rows unbounded preceding) as rank
    from item i
    left join quota_counters d on d.tenant_id = i.tenant and d.team_id = i.team and d.period = 'day'
      and d.starts_on = i.day_on
    left join quota_counters m on m.tenant_id = i.tenant and m.team_id = i.team and m.period = 'month'
      and m.starts_on = i.month_on
  ), judged as (
    select r.*, case
      when r.is_known then 'known'
      when not r.has_team then 'no_team'
      when not r.has_key then 'no_key'
      when r.rank <= coalesce(least(r.day_room, r.month_room), r.rank) then 'admitted'
      when coalesce(r.month_room <= r.day_room, r.day_room is null) then 'month'
      else 'day' end as verdict
    from ranked r
  ), told as (
    select j.*, count(*) filter (where j.verdict = 'admitted')
      over (partition by j.tenant, j.team order by j.place rows unbounded preceding) as taken
    from judged j
  ), counted as (
    update quota_counters c set admitted = c.admitted + s.n
    from (
      select j.tenant, j.team, j.day_on, j.month_on, count(*) as n from judged j where j.verdict = 'admitted'
      group by 1, 2, 3, 4
    ) s
    where c.tenant_id = s.tenant and c.team_id = s.team
      and ((c.period = 'day' and c.starts_on = s.day_on) or (c.period = 'month' and c.starts_on = s.month_on))
  ), leased as (
    insert into quota_leases (
      tenant_id, id, team_id, api_key_id, session_id, user_id, endpoint, model, input_tokens, request_id, day_on,
      month_on, expires_at)
    select j.tenant, j.lease, j.team, j.key, j.session, j."user", j.endpoint, j.model, j.tokens, j.request, j.day_on,
      j.month_on, now() + make_interval(secs => j.seconds)
    from judged j where j.verdict = 'admitted'
  )
  select t.place, case t.verdict when 'known' then 'admitted' else t.verdict end,
    t.daily_quota, t.day_room - t.taken, t.monthly_quota, t.month_room - t.taken,
    local_midnight(t.day_on + 1, t.zone),
    local_midnight((t.month_on + interval '1 month')::date, t.zone)
  from told t;
end $$;

-- Settles each lease that is still there and answers how many were: its usage row, the counters and the day's sums
-- in one. A lease that is gone was settled before.
create function chat_settle(items jsonb) returns integer language plpgsql volatile security definer
set search_path = pg_catalog, public as $$
declare n integer;
begin
  perform 1 from quota_counters c
  join (
    select distinct l.tenant_id, l.team_id, l.day_on, l.month_on
    from jsonb_to_recordset(items) as i (tenant uuid, lease uuid)
    join quota_leases l on l.tenant_id = i.tenant and l.id = i.lease
  ) m on c.tenant_id = m.tenant_id and c.team_id = m.team_id
    and ((c.period = 'day' and c.starts_on = m.day_on) or (c.period = 'month' and c.starts_on = m.month_on))
  order by c.tenant_id, c.team_id, c.period, c.starts_on for update of c;

  with item as (
    select * from jsonb_to_recordset(items) as i (
      tenant uuid, lease uuid, model text, outcome text, status integer, attempts integer, input integer,
      output integer, source text, latency integer, first_byte integer, streamed boolean)
  ), gone as (
    delete from quota_leases l using item i where l.tenant_id = i.tenant and l.id = i.lease
    returning l.tenant_id, l.id, l.team_id, l.api_key_id, l.session_id, l.user_id, l.endpoint, l.request_id, l.day_on,
      l.month_on, l.admitted_at, l.model as requested, i.model, i.outcome, i.status, i.attempts,
      coalesce(i.input, l.input_tokens) as input, i.output, i.source, i.latency, i.first_byte, i.streamed
  ), priced as (
    select g.*, (g.input::numeric * p.input_micros + g.output::numeric * p.output_micros) * 0.000001 as cost
    from gone g left join lateral (
      select p.input_micros, p.output_micros from model_prices p
      where p.model = g.model and p.starts_at <= g.admitted_at order by p.starts_at desc limit 1
    ) p on true
  ), logged as (
    insert into usage_logs (
      tenant_id, id, team_id, api_key_id, session_id, user_id, endpoint, model, requested_model, outcome, status,
      attempts, input_tokens, output_tokens, usage_source, cost_micros, latency_ms, first_byte_ms, is_streamed,
      request_id, day_on)
    select g.tenant_id, g.id, g.team_id, g.api_key_id, g.session_id, g.user_id, g.endpoint, g.model, g.requested,
      g.outcome, g.status, g.attempts, g.input, g.output, g.source, g.cost, g.latency, g.first_byte, g.streamed,
      g.request_id, g.day_on
    from priced g
  ), counted as (
    update quota_counters c set settled = c.settled + s.n
    from (
      select g.tenant_id, g.team_id, 'day' as period, g.day_on as starts_on, count(*) as n from gone g group by 1, 2, 4
      union all
      select g.tenant_id, g.team_id, 'month', g.month_on, count(*) from gone g group by 1, 2, 4
    ) s
    where c.tenant_id = s.tenant_id and c.team_id = s.team_id and c.period = s.period and c.starts_on = s.starts_on
  ), summed as (
    insert into usage_days as u (
      tenant_id, id, team_id, day_on, model, api_key_id, user_id, requests, errors, input_tokens, output_tokens,
      cost_micros, unpriced, timed, latency_ms, max_latency_ms)
    select g.tenant_id, (array_agg(g.id order by g.id))[1], g.team_id, g.day_on, g.model, g.api_key_id, g.user_id, count(*),
      count(*) filter (where g.outcome in ('failed', 'cut', 'lost')), sum(g.input), sum(g.output),
      coalesce(sum(g.cost), 0), count(*) filter (where g.cost is null), count(g.latency),
      coalesce(sum(g.latency), 0), coalesce(max(g.latency), 0)
    from priced g group by g.tenant_id, g.team_id, g.day_on, g.model, g.api_key_id, g.user_id
    order by g.tenant_id, g.team_id, g.day_on, g.model, g.api_key_id, g.user_id
    on conflict (tenant_id, team_id, day_on, model, api_key_id, user_id) do update set
      requests = u.requests + excluded.requests, errors = u.errors + excluded.errors,
      input_tokens = u.input_tokens + excluded.input_tokens, output_tokens = u.output_tokens + excluded.output_tokens,
      cost_micros = u.cost_micros + excluded.cost_micros, unpriced = u.unpriced + excluded.unpriced,
      timed = u.timed + excluded.timed, latency_ms = u.latency_ms + excluded.latency_ms,
      max_latency_ms = greatest(u.max_latency_ms, excluded.max_latency_ms)
  )
  select count(*) into n from gone;
  return n;
end $$;

-- Leases past their time, the longest first: their process ended before it could say what they came to.
create function chat_expired(most integer, skipped integer) returns table (tenant_id uuid, id uuid, model text)
language plpgsql stable security definer set search_path = pg_catalog, public as $$
begin
  return query select l.tenant_id, l.id, l.model from quota_leases l
  where l.expires_at < now() order by l.expires_at, l.id limit least(most, 1000) offset skipped;
end $$;

-- A webhook names the channel alone.
create function channel_by_id(wanted uuid)
returns table (tenant_id uuid, team_id uuid, kind text, secret text, is_open boolean)
language plpgsql stable security definer set search_path = pg_catalog, public as $$
begin
  return query select c.tenant_id, c.team_id, c.kind, c.secret::text,
    c.is_active and t.is_active and tenant_is_open(c.tenant_id)
  from channels c join teams t on t.tenant_id = c.tenant_id and t.id = c.team_id where c.id = wanted;
end $$;

-- Chats with something to work off that nobody is at.
create function chats_due(most integer)
returns table (tenant_id uuid, channel_id uuid, chat_key text)
language plpgsql stable security definer set search_path = pg_catalog, public as $$
begin
  return query select d.tenant_id, d.channel_id, d.chat_key from (
    select u.tenant_id, u.channel_id, u.chat_key, u.due_at from channel_updates u
    where u.state = 'received' and u.due_at <= now() and coalesce(u.held_until < now(), true)
    order by u.due_at limit 10 * least(most, 100)
  ) d group by 1, 2, 3 order by min(d.due_at) limit least(most, 100);
end $$;

-- A key is its owner's, or a team's: that one chats and does nothing else.
drop function api_key_by_id(uuid);
create function api_key_by_id(wanted uuid)
returns table (
  tenant_id uuid, owner_user_id uuid, team_id uuid, family_id uuid, secret_hash text, scopes text[],
  expires_at timestamptz, revoked_at timestamptz, last_used_at timestamptz, is_open boolean, grants jsonb,
  networks text[], key_networks text[], epoch bigint
) language plpgsql stable security definer set search_path = pg_catalog, public as $$
begin
  return query select k.tenant_id, k.owner_user_id, k.team_id, k.family_id, k.secret_hash, k.scopes,
    k.expires_at::timestamptz, k.revoked_at::timestamptz, k.last_used_at::timestamptz,
    case when k.team_id is null then s.holds
      else tenant_is_open(k.tenant_id) and exists (
        select 1 from teams t where t.tenant_id = k.tenant_id and t.id = k.team_id and t.is_active) end,
    s.grants, s.networks,
    array(select n.network from client_access n where n.tenant_id = k.tenant_id and n.api_key_id = k.id),
    s.home_epoch
  from api_keys k cross join lateral standing_of(k.tenant_id, k.owner_user_id, null, k.tenant_id) s
  where k.id = wanted;
end $$;

create or replace function sweep_expired(most integer) returns bigint
language sql security definer set search_path = pg_catalog, public as $$
  with k as (
    delete from idempotency_keys where (tenant_id, id) in (
      select tenant_id, id from idempotency_keys where expires_at < now() limit most) returning 1
  ), f as (
    delete from oauth_flows where (tenant_id, id) in (
      select tenant_id, id from oauth_flows where expires_at < now() - interval '1 day' limit most) returning 1
  ), r as (
    delete from revoked_tokens where (tenant_id, id) in (
      select tenant_id, id from revoked_tokens where expires_at < now() limit most) returning 1
  ), p as (
    delete from password_resets where (tenant_id, id) in (
      select tenant_id, id from password_resets where expires_at < now() - interval '1 day' limit most) returning 1
  ), s as (
    delete from sso_flows where (tenant_id, id) in (
      select tenant_id, id from sso_flows where expires_at < now() - interval '1 day' limit most) returning 1
  ), u as (
    delete from channel_updates where (tenant_id, id) in (
      select tenant_id, id from channel_updates
      where state <> 'received' and updated_at < now() - interval '7 days' limit most) returning 1
  )
  select (select count(*) from k) + (select count(*) from f) + (select count(*) from r)
    + (select count(*) from p) + (select count(*) from s) + (select count(*) from u)
$$;

grant create on schema public to switchboard_worker;
do $$
declare f regprocedure;
begin
  for f in select oid::regprocedure from pg_proc where pronamespace = 'public'::regnamespace and prosecdef
    and proowner <> 'switchboard_worker'::regrole and proname in (
      'chat_admit', 'chat_settle', 'chat_expired', 'channel_by_id', 'chats_due', 'api_key_by_id')
  loop
    execute format('alter function %s owner to switchboard_worker', f);
    execute format('revoke all on function %s from public', f);
    execute format('grant execute on function %s to switchboard_service', f);
  end loop;
end $$;
revoke create on schema public from switchboard_worker;

-- Usage rows and messages join the months. Retention: events 90 days, the others 400.
create or replace function ensure_partitions(ahead integer) returns integer language plpgsql security definer
set search_path = pg_catalog, public as $$
declare
  parent text;
  month timestamptz;
  child text;
  made integer := 0;
begin
  perform pg_advisory_xact_lock(hashtext('switchboard.partitions'));
  foreach parent in array array['audit_entries', 'events', 'usage_logs', 'messages'] loop
    for i in -1 .. least(greatest(ahead, 0), 24) loop
      month := (date_trunc('month', now() at time zone 'UTC') + make_interval(months => i)) at time zone 'UTC';
      child := format('%s_%s', parent, to_char(month at time zone 'UTC', 'YYYY_MM'));
      if to_regclass('public.' || child) is null then
        execute format('create table public.%I partition of public.%I for values from (%L) to (%L)',
          child, parent, uuid_floor(month),
          uuid_floor(((month at time zone 'UTC') + interval '1 month') at time zone 'UTC'));
        made := made + 1;
      end if;
    end loop;
  end loop;
  return made;
end $$;
create or replace function drop_old_partitions() returns integer language plpgsql security definer
set search_path = pg_catalog, public as $$
declare
  old record;
  dropped integer := 0;
begin
  perform pg_advisory_xact_lock(hashtext('switchboard.partitions'));
  for old in
    select c.relname from pg_inherits i
    join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent
    where p.relname in ('audit_entries', 'events', 'usage_logs', 'messages') and c.relname ~ '_\d{4}_\d{2}$'
      and to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month' <
        now() - case p.relname when 'events' then interval '90 days' else interval '400 days' end
  loop
    execute format('drop table public.%I', old.relname);
    dropped := dropped + 1;
  end loop;
  return dropped;
end $$;
select ensure_partitions(3);
