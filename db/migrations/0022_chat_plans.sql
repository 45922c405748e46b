CREATE INDEX "idx_channel_updates_updated_at" ON "channel_updates" USING btree ("updated_at") WHERE state <> 'received';
--> statement-breakpoint
-- Admission and settlement a row at a time: each statement looks along one whole key, whatever there is, where one
-- over all of them took longer to begin than to do, and was planned for a hundred rows.

-- The tenant's day and month, and when they end. A zone that is gone is taken for UTC.
create function chat_calendar(
  of_tenant uuid, out day_on date, out month_on date, out day_ends timestamptz, out month_ends timestamptz
) language plpgsql stable set search_path = pg_catalog, public as $$
declare zone text;
begin
  select t.time_zone into zone from tenants t where t.id = of_tenant;
  day_on := local_day(now(), zone);
  month_on := date_trunc('month', day_on::timestamp)::date;
  day_ends := (day_on + 1)::timestamp at time zone zone;
  month_ends := (month_on + interval '1 month') at time zone zone;
exception when invalid_parameter_value then
  day_ends := (day_on + 1)::timestamp at time zone 'UTC';
  month_ends := (month_on + interval '1 month') at time zone 'UTC';
end $$;

-- Counts so many more on one counter, which is ours until the transaction ends, and answers what it was; null: there
-- is no such team. Who counts on several takes the team's month, then its day; teams and days in their order.
create function quota_counted(in_tenant uuid, of_team uuid, of_period text, from_day date, more bigint, done bigint)
returns bigint language plpgsql volatile set search_path = pg_catalog, public as $$
declare before bigint;
begin
  for tries in 1 .. 2 loop
    update quota_counters c set admitted = c.admitted + more, settled = c.settled + done
    where c.tenant_id = in_tenant and c.team_id = of_team and c.period = of_period and c.starts_on = from_day
    returning c.admitted - more into before;
    exit when found;
    insert into quota_counters (tenant_id, team_id, period, starts_on)
    select t.tenant_id, t.id, of_period, from_day from teams t where t.tenant_id = in_tenant and t.id = of_team
    on conflict do nothing;
  end loop;
  return before;
end $$;

create or replace function chat_admit(asked jsonb)
returns table (
  place integer, verdict text, day_quota integer, day_left bigint, month_quota integer, month_left bigint,
  day_ends timestamptz, month_ends timestamptz
) language plpgsql volatile security definer set search_path = pg_catalog, public
set plan_cache_mode = force_generic_plan as $$
declare
  one record;
  calendar record;
  team record;
  month_used bigint;
  day_used bigint;
  refused integer;
begin
  for one in
    select r.*, count(*) over same as together, row_number() over (same order by r.place) as nth
    from jsonb_to_recordset(asked) as r (
      place integer, tenant uuid, team uuid, key uuid, lease uuid, session uuid, "user" text, endpoint text,
      model text, tokens integer, request text, seconds integer)
    window same as (partition by r.tenant, r.team) order by r.tenant, r.team, r.place
  loop
    if one.nth = 1 then
      refused := 0;
      calendar := chat_calendar(one.tenant);
      month_used := quota_counted(one.tenant, one.team, 'month', calendar.month_on, one.together, 0);
      day_used := quota_counted(one.tenant, one.team, 'day', calendar.day_on, one.together, 0);
      day_ends := calendar.day_ends;
      month_ends := calendar.month_ends;
    end if;
    -- Asked when the counters are ours: what another has changed meanwhile holds.
    select t.daily_quota, t.monthly_quota, t.is_active,
      one.key is null or exists (
        select from api_keys k where k.tenant_id = one.tenant and k.id = one.key and k.revoked_at is null
          and coalesce(k.expires_at > now(), true)) as has_key,
      exists (select from quota_leases l where l.tenant_id = one.tenant and l.id = one.lease)
        or exists (select from usage_logs u where u.tenant_id = one.tenant and u.id = one.lease) as is_known
    into team from teams t where t.tenant_id = one.tenant and t.id = one.team;
    if one.nth = 1 then
      day_quota := team.daily_quota;
      month_quota := team.monthly_quota;
      day_left := case when day_quota is not null then greatest(day_quota - day_used, 0) end;
      month_left := case when month_quota is not null then greatest(month_quota - month_used, 0) end;
    end if;
    place := one.place;
    verdict := case
      when team.is_known then 'known'
      when not coalesce(team.is_active, false) then 'no_team'
      when not team.has_key then 'no_key'
      when coalesce(least(day_left, month_left) > 0, true) then 'admitted'
      when coalesce(month_left <= day_left, day_left is null) then 'month'
      else 'day' end;
    if verdict = 'admitted' then
      day_left := day_left - 1;
      month_left := month_left - 1;
      insert into quota_leases (
        tenant_id, id, team_id, api_key_id, session_id, user_id, endpoint, model, input_tokens, request_id, day_on,
        month_on, expires_at)
      values (one.tenant, one.lease, one.team, one.key, one.session, one."user", one.endpoint, one.model, one.tokens,
        one.request, calendar.day_on, calendar.month_on, now() + make_interval(secs => one.seconds));
    else
      refused := refused + 1;
      if verdict = 'known' then
        verdict := 'admitted';
      end if;
    end if;
    return next;
    if one.nth = one.together and refused > 0 then
      perform quota_counted(one.tenant, one.team, 'month', calendar.month_on, -refused, 0);
      perform quota_counted(one.tenant, one.team, 'day', calendar.day_on, -refused, 0);
    end if;
  end loop;
end $$;

-- Settles each lease that is still there and answers how many were: its usage row, the counters and the day's sums
-- in one. A lease that is gone was settled before.
create or replace function chat_settle(items jsonb) returns integer language plpgsql volatile security definer
set search_path = pg_catalog, public set plan_cache_mode = force_generic_plan as $$
declare
  one record;
  lease quota_leases;
  input integer;
  cost numeric;
  gone integer;
  n integer := 0;
begin
  for one in
    select i.*, l.team_id, l.month_on, l.day_on, count(*) over same as together,
      row_number() over (same order by i.lease) as nth
    from jsonb_to_recordset(items) as i (
      tenant uuid, lease uuid, model text, outcome text, status integer, attempts integer, input integer,
      output integer, source text, latency integer, first_byte integer, streamed boolean)
    cross join lateral (
      select q.team_id, q.month_on, q.day_on from quota_leases q where q.tenant_id = i.tenant and q.id = i.lease
      offset 0) l
    window same as (partition by i.tenant, l.team_id, l.month_on, l.day_on)
    order by i.tenant, l.team_id, l.month_on, l.day_on, i.lease
  loop
    if one.nth = 1 then
      gone := 0;
      perform quota_counted(one.tenant, one.team_id, 'month', one.month_on, 0, one.together);
      perform quota_counted(one.tenant, one.team_id, 'day', one.day_on, 0, one.together);
    end if;
    delete from quota_leases q where q.tenant_id = one.tenant and q.id = one.lease returning * into lease;
    if found then
      n := n + 1;
      input := coalesce(one.input, lease.input_tokens);
      cost := (
        select (input::numeric * p.input_micros + one.output::numeric * p.output_micros) * 0.000001
        from model_prices p where p.model = one.model and p.starts_at <= lease.admitted_at
        order by p.starts_at desc limit 1);
      insert into usage_logs (
        tenant_id, id, team_id, api_key_id, session_id, user_id, endpoint, model, requested_model, outcome, status,
        attempts, input_tokens, output_tokens, usage_source, cost_micros, latency_ms, first_byte_ms, is_streamed,
        request_id, day_on)
      values (lease.tenant_id, lease.id, lease.team_id, lease.api_key_id, lease.session_id, lease.user_id,
        lease.endpoint, one.model, lease.model, one.outcome, one.status, one.attempts, input, one.output, one.source,
        cost, one.latency, one.first_byte, one.streamed, lease.request_id, lease.day_on);
      insert into usage_days as u (
        tenant_id, id, team_id, day_on, model, api_key_id, user_id, requests, errors, input_tokens, output_tokens,
        cost_micros, unpriced, timed, latency_ms, max_latency_ms)
      values (lease.tenant_id, lease.id, lease.team_id, lease.day_on, one.model, lease.api_key_id, lease.user_id, 1,
        (one.outcome in ('failed', 'cut', 'lost'))::integer, input, one.output, coalesce(cost, 0),
        (cost is null)::integer, (one.latency is not null)::integer, coalesce(one.latency, 0),
        coalesce(one.latency, 0))
      on conflict (tenant_id, team_id, day_on, model, api_key_id, user_id) do update set
        requests = u.requests + excluded.requests, errors = u.errors + excluded.errors,
        input_tokens = u.input_tokens + excluded.input_tokens,
        output_tokens = u.output_tokens + excluded.output_tokens,
        cost_micros = u.cost_micros + excluded.cost_micros, unpriced = u.unpriced + excluded.unpriced,
        timed = u.timed + excluded.timed, latency_ms = u.latency_ms + excluded.latency_ms,
        max_latency_ms = greatest(u.max_latency_ms, excluded.max_latency_ms);
    else
      gone := gone + 1;
    end if;
    if one.nth = one.together and gone > 0 then
      perform quota_counted(one.tenant, one.team_id, 'month', one.month_on, 0, -gone);
      perform quota_counted(one.tenant, one.team_id, 'day', one.day_on, 0, -gone);
    end if;
  end loop;
  return n;
end $$;

grant create on schema public to switchboard_worker;
do $$
declare f regprocedure;
begin
  for f in select oid::regprocedure from pg_proc where pronamespace = 'public'::regnamespace
    and proname in ('chat_calendar', 'quota_counted')
  loop
    execute format('alter function %s owner to switchboard_worker', f);
    execute format('revoke all on function %s from public', f);
  end loop;
end $$;
revoke create on schema public from switchboard_worker;

-- A key is its owner's, or a team's: that one chats and does nothing else.
create or replace function api_key_by_id(wanted uuid)
returns table (
  tenant_id uuid, owner_user_id uuid, team_id uuid, family_id uuid, secret_hash text, scopes text[],
  expires_at timestamptz, revoked_at timestamptz, last_used_at timestamptz, is_open boolean, grants jsonb,
  networks text[], key_networks text[], epoch bigint
) language plpgsql stable security definer set search_path = pg_catalog, public as $$
begin
  return query select k.tenant_id, k.owner_user_id, k.team_id, k.family_id, k.secret_hash, k.scopes,
    k.expires_at::timestamptz, k.revoked_at::timestamptz, k.last_used_at::timestamptz,
    case when k.team_id is null then s.holds
      else tenant_is_open(k.tenant_id) and
        coalesce((select t.is_active from teams t where t.tenant_id = k.tenant_id and t.id = k.team_id), false) end,
    s.grants, s.networks,
    array(select n.network from client_access n where n.tenant_id = k.tenant_id and n.api_key_id = k.id),
    s.home_epoch
  from api_keys k cross join lateral standing_of(k.tenant_id, k.owner_user_id, null, k.tenant_id) s
  where k.id = wanted;
end $$;
