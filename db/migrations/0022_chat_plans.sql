CREATE INDEX "idx_channel_updates_updated_at" ON "channel_updates" USING btree ("updated_at") WHERE state <> 'received';
--> statement-breakpoint
-- The functions of chat as they were, but that they read along an index whatever there is: a question of JSON is
-- taken for a hundred rows, for which a whole table looks cheaper to read; and a counter is found by its whole key,
-- for a team has one of every day. Hence the fences (offset 0).
create or replace function chat_admit(asked jsonb)
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
    cross join lateral (
      select from teams t where t.tenant_id = a.tenant and t.id = a.team and t.is_active offset 0) t
    cross join lateral (select n.time_zone from tenants n where n.id = a.tenant offset 0) n
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
    left join lateral (
      select t.id, t.daily_quota, t.monthly_quota from teams t
      where t.tenant_id = s.tenant and t.id = s.team and t.is_active offset 0) t on true
    left join lateral (
      select k.id from api_keys k where k.tenant_id = a.tenant and k.id = a.key and k.revoked_at is null
        and coalesce(k.expires_at > now(), true) offset 0) k on true
    left join lateral (
      select l.id from quota_leases l where l.tenant_id = a.tenant and l.id = a.lease offset 0) l on true
    left join lateral (select g.id from usage_logs g where g.tenant_id = a.tenant and g.id = a.lease limit 1) u on true
  ), ranked as (
    select i.*, case when i.daily_quota is not null then greatest(i.daily_quota - d.admitted, 0) end as day_room,
      case when i.monthly_quota is not null then greatest(i.monthly_quota - m.admitted, 0) end as month_room,
      count(*) filter (where i.has_team and i.has_key and not i.is_known)
        over (partition by i.tenant, i.team order by i.place rows unbounded preceding) as rank
    from item i
    left join lateral (
      select c.admitted from quota_counters c where c.tenant_id = i.tenant and c.team_id = i.team
        and c.period = 'day' and c.starts_on = i.day_on offset 0) d on true
    left join lateral (
      select c.admitted from quota_counters c where c.tenant_id = i.tenant and c.team_id = i.team
        and c.period = 'month' and c.starts_on = i.month_on offset 0) m on true
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
      select j.tenant, j.team, p.period, case p.period when 'day' then j.day_on else j.month_on end as starts_on,
        count(*) as n
      from judged j cross join (values ('day'), ('month')) p (period) where j.verdict = 'admitted'
      group by 1, 2, 3, 4
    ) s
    where c.tenant_id = s.tenant and c.team_id = s.team and c.period = s.period and c.starts_on = s.starts_on
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
create or replace function chat_settle(items jsonb) returns integer language plpgsql volatile security definer
set search_path = pg_catalog, public
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare n integer;
begin
  perform 1 from quota_counters c
  join (
    select distinct l.tenant_id, l.team_id, p.period, case p.period when 'day' then l.day_on else l.month_on end as starts_on
    from jsonb_to_recordset(items) as i (tenant uuid, lease uuid)
    join quota_leases l on l.tenant_id = i.tenant and l.id = i.lease
    cross join (values ('day'), ('month')) p (period)
  ) m on c.tenant_id = m.tenant_id and c.team_id = m.team_id and c.period = m.period and c.starts_on = m.starts_on
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
