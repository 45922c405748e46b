ALTER TABLE "quota_leases" DROP CONSTRAINT "quota_leases_tenant_id_team_id_teams_tenant_id_id_fk";
--> statement-breakpoint
ALTER TABLE "usage_logs" DROP CONSTRAINT "usage_logs_tenant_id_team_id_teams_tenant_id_id_fk";
--> statement-breakpoint
DROP INDEX "idx_quota_leases_team_id";
--> statement-breakpoint
-- What a request waits for, and what runs beside it. Most come alone: a statement less, or a shorter one, is felt by
-- each of them. What is settled comes together, and is one statement whose plan looks along one whole key a lease.

-- Only operators stand in two of them, and who calls the third says along which path it looks.
alter function local_day(timestamptz, text) reset search_path;
alter function local_midnight(date, text) reset search_path;
alter function quota_counted(uuid, uuid, text, date, bigint, bigint) reset search_path;
drop function chat_calendar(uuid);

-- Admits each request asked for, or says why not: `admitted`, `no_team` (none, or not active), `no_key` (revoked or
-- over), `day`, `month` (that quota is used up). `*_left` is what is left after the request; null: without end.
-- `again`: an answer to the same question may have been lost. Who was let in then is so still, settled or not, and is
-- counted once. `calendar` is the tenant's, as it was found; whoever names it in a question spares the next a look,
-- until the day ends.
drop function chat_admit(jsonb);
create function chat_admit(asked jsonb, again boolean default false)
returns table (
  place integer, verdict text, day_quota integer, day_left bigint, month_quota integer, month_left bigint,
  day_ends timestamptz, month_ends timestamptz, calendar jsonb
) language plpgsql volatile security definer set search_path = pg_catalog, public
set plan_cache_mode = force_generic_plan as $$
declare
  one jsonb;
  in_tenant uuid;
  of_team uuid;
  with_key uuid;
  zone text;
  day_on date;
  month_on date;
  month_used bigint;
  day_used bigint;
  is_active boolean;
  together integer := 0;
  refused integer;
  is_known boolean := false;
begin
  if jsonb_array_length(asked) > 1 then
    select jsonb_agg(r order by r ->> 'tenant', r ->> 'team', (r ->> 'place')::integer) into asked
    from jsonb_array_elements(asked) r;
  end if;
  for nth in 0 .. jsonb_array_length(asked) - 1 loop
    one := asked -> nth;
    if together = 0 then
      in_tenant := one ->> 'tenant';
      of_team := one ->> 'team';
      refused := 0;
      together := 1;
      while asked -> nth + together ->> 'team' = one ->> 'team'
        and asked -> nth + together ->> 'tenant' = one ->> 'tenant' loop
        together := together + 1;
      end loop;
      calendar := null;
      day_ends := one -> 'calendar' ->> 'day_ends';
      if day_ends > now() then
        day_on := one -> 'calendar' ->> 'day_on';
        month_on := one -> 'calendar' ->> 'month_on';
        month_ends := one -> 'calendar' ->> 'month_ends';
      else
        select t.time_zone into zone from tenants t where t.id = in_tenant;
        day_on := local_day(now(), zone);
        month_on := date_trunc('month', day_on::timestamp);
        day_ends := local_midnight(day_on + 1, zone);
        month_ends := local_midnight((month_on + interval '1 month')::date, zone);
        calendar := jsonb_build_object(
          'day_on', day_on, 'month_on', month_on, 'day_ends', day_ends, 'month_ends', month_ends);
      end if;
      update quota_counters c set admitted = c.admitted + together
      where c.tenant_id = in_tenant and c.team_id = of_team and c.period = 'month' and c.starts_on = month_on
      returning c.admitted - together into month_used;
      if not found then
        month_used := quota_counted(in_tenant, of_team, 'month', month_on, together, 0);
      end if;
      update quota_counters c set admitted = c.admitted + together
      where c.tenant_id = in_tenant and c.team_id = of_team and c.period = 'day' and c.starts_on = day_on
      returning c.admitted - together into day_used;
      if not found then
        day_used := quota_counted(in_tenant, of_team, 'day', day_on, together, 0);
      end if;
      -- Asked when the counters are ours: what another has changed meanwhile holds.
      select t.is_active, t.daily_quota, t.monthly_quota,
        case when t.daily_quota is not null then greatest(t.daily_quota - day_used, 0) end,
        case when t.monthly_quota is not null then greatest(t.monthly_quota - month_used, 0) end
      into is_active, day_quota, month_quota, day_left, month_left
      from teams t where t.tenant_id = in_tenant and t.id = of_team;
    end if;
    place := one ->> 'place';
    with_key := one ->> 'key';
    if again then
      -- In one look: it is here or there, whoever settles it meanwhile.
      is_known := exists (select from quota_leases l where l.tenant_id = in_tenant and l.id = (one ->> 'lease')::uuid)
        or exists (select from usage_logs u where u.tenant_id = in_tenant and u.id = (one ->> 'lease')::uuid);
    end if;
    verdict := case
      when is_known then 'admitted'
      when not coalesce(is_active, false) then 'no_team'
      when with_key is not null and not exists (
        select from api_keys k where k.tenant_id = in_tenant and k.id = with_key and k.revoked_at is null
          and coalesce(k.expires_at > now(), true)) then 'no_key'
      when coalesce(least(day_left, month_left) > 0, true) then 'admitted'
      when coalesce(month_left <= day_left, day_left is null) then 'month'
      else 'day' end;
    if verdict = 'admitted' and not is_known then
      day_left := day_left - 1;
      month_left := month_left - 1;
      insert into quota_leases (
        tenant_id, id, team_id, api_key_id, session_id, user_id, endpoint, model, input_tokens, request_id, day_on,
        month_on, expires_at)
      values (in_tenant, (one ->> 'lease')::uuid, of_team, with_key, (one ->> 'session')::uuid, one ->> 'user', one ->> 'endpoint',
        one ->> 'model', (one ->> 'tokens')::integer, one ->> 'request', day_on, month_on,
        now() + make_interval(secs => (one ->> 'seconds')::integer));
    else
      refused := refused + 1;
    end if;
    return next;
    together := together - 1;
    if together = 0 and refused > 0 then
      perform quota_counted(in_tenant, of_team, 'month', month_on, -refused, 0);
      perform quota_counted(in_tenant, of_team, 'day', day_on, -refused, 0);
    end if;
  end loop;
end $$;

-- Settles each lease that is still there and answers how many were: its usage row, the day's sums and the counters in
-- one. A lease that is gone was settled before. Who settles takes leases, sums and counters in their order, and the
-- counters last: an admission waits for them.
create or replace function chat_settle(items jsonb) returns integer language plpgsql volatile security definer
set search_path = pg_catalog, public set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  counted record;
  n integer := 0;
begin
  for counted in
    with item as materialized (
      select * from jsonb_to_recordset(items) as i (
        tenant uuid, lease uuid, model text, outcome text, status integer, attempts integer, input integer,
        output integer, source text, latency integer, first_byte integer, streamed boolean)
      order by tenant, lease
    ),
    lease as (
      delete from quota_leases q using item i where q.tenant_id = i.tenant and q.id = i.lease
      returning q.*, i.model as used_model, i.outcome, i.status, i.attempts,
        coalesce(i.input, q.input_tokens) as input, i.output, i.source, i.latency, i.first_byte, i.streamed
    ),
    priced as materialized (
      select l.*, (
        select (l.input::numeric * p.input_micros + l.output::numeric * p.output_micros) * 0.000001
        from model_prices p where p.model = l.used_model and p.starts_at <= l.admitted_at
        order by p.starts_at desc limit 1) as cost
      from lease l
    ),
    logged as (
      insert into usage_logs (
        tenant_id, id, team_id, api_key_id, session_id, user_id, endpoint, model, requested_model, outcome, status,
        attempts, input_tokens, output_tokens, usage_source, cost_micros, latency_ms, first_byte_ms, is_streamed,
        request_id, day_on)
      select tenant_id, id, team_id, api_key_id, session_id, user_id, endpoint, used_model, model, outcome, status,
        attempts, input, output, source, cost, latency, first_byte, streamed, request_id, day_on
      from priced
    ),
    summed as (
      insert into usage_days as u (
        tenant_id, id, team_id, day_on, model, api_key_id, user_id, requests, errors, input_tokens, output_tokens,
        cost_micros, unpriced, timed, latency_ms, max_latency_ms)
      select tenant_id, (array_agg(id order by id))[1], team_id, day_on, used_model, api_key_id, user_id, count(*),
        count(*) filter (where outcome in ('failed', 'cut', 'lost')), sum(input), sum(output), coalesce(sum(cost), 0),
        count(*) filter (where cost is null), count(latency), coalesce(sum(latency), 0), coalesce(max(latency), 0)
      from priced
      group by tenant_id, team_id, day_on, used_model, api_key_id, user_id
      order by tenant_id, team_id, day_on, used_model, api_key_id, user_id
      on conflict (tenant_id, team_id, day_on, model, api_key_id, user_id) do update set
        requests = u.requests + excluded.requests, errors = u.errors + excluded.errors,
        input_tokens = u.input_tokens + excluded.input_tokens,
        output_tokens = u.output_tokens + excluded.output_tokens,
        cost_micros = u.cost_micros + excluded.cost_micros, unpriced = u.unpriced + excluded.unpriced,
        timed = u.timed + excluded.timed, latency_ms = u.latency_ms + excluded.latency_ms,
        max_latency_ms = greatest(u.max_latency_ms, excluded.max_latency_ms)
    )
    select tenant_id, team_id, month_on, day_on, count(*) as settled from lease
    group by 1, 2, 3, 4 order by 1, 2, 3, 4
  loop
    perform quota_counted(counted.tenant_id, counted.team_id, 'month', counted.month_on, 0, counted.settled);
    perform quota_counted(counted.tenant_id, counted.team_id, 'day', counted.day_on, 0, counted.settled);
    n := n + counted.settled;
  end loop;
  return n;
end $$;

grant create on schema public to switchboard_worker;
alter function chat_admit(jsonb, boolean) owner to switchboard_worker;
revoke create on schema public from switchboard_worker;
revoke all on function chat_admit(jsonb, boolean) from public;
grant execute on function chat_admit(jsonb, boolean) to switchboard_service;
