-- Most requests come alone: their admission is asked for in typed words, which are read in a fraction of the time that
-- JSON takes. What is rare, a day that has ended or a question that is asked again, goes the way of those that come
-- together. What either says of a team and its counters is said by one function. A value and no row is answered: a row
-- of a function is put on a shelf before it is read.
create function chat_verdict(is_active boolean, has_key boolean, key_holds boolean, day_left bigint, month_left bigint)
returns text language sql immutable parallel safe as $$
  select case
    when not coalesce(is_active, false) then 'no_team'
    when has_key and not coalesce(key_holds, false) then 'no_key'
    when coalesce(least(day_left, month_left) > 0, true) then 'admitted'
    when coalesce(month_left <= day_left, day_left is null) then 'month'
    else 'day' end
$$;

create function chat_admit_one(
  in_tenant uuid, of_team uuid, with_key uuid, lease uuid, in_session uuid, by_user text, to_endpoint text,
  for_model text, tokens integer, request text, seconds integer, again boolean, on_day date, on_month date,
  day_ends timestamptz, month_ends timestamptz
) returns json language plpgsql volatile security definer set search_path = pg_catalog, public
set plan_cache_mode = force_generic_plan as $$
declare
  month_used bigint;
  day_used bigint;
  is_active boolean;
  key_holds boolean;
  day_quota integer;
  month_quota integer;
  day_left bigint;
  month_left bigint;
  verdict text;
begin
  if again or coalesce(day_ends <= now(), true) then
    return to_json(a) from chat_admit(jsonb_build_array(jsonb_build_object(
      'place', 0, 'tenant', in_tenant, 'team', of_team, 'key', with_key, 'lease', lease, 'session', in_session,
      'user', by_user, 'endpoint', to_endpoint, 'model', for_model, 'tokens', tokens, 'request', request,
      'seconds', seconds, 'calendar', jsonb_build_object(
        'day_on', on_day, 'month_on', on_month, 'day_ends', day_ends, 'month_ends', month_ends))), again) a;
  end if;
  update quota_counters c set admitted = c.admitted + 1
  where c.tenant_id = in_tenant and c.team_id = of_team and c.period = 'month' and c.starts_on = on_month
  returning c.admitted - 1 into month_used;
  if not found then
    month_used := quota_counted(in_tenant, of_team, 'month', on_month, 1, 0);
  end if;
  update quota_counters c set admitted = c.admitted + 1
  where c.tenant_id = in_tenant and c.team_id = of_team and c.period = 'day' and c.starts_on = on_day
  returning c.admitted - 1 into day_used;
  if not found then
    day_used := quota_counted(in_tenant, of_team, 'day', on_day, 1, 0);
  end if;
  -- Asked when the counters are ours: what another has changed meanwhile holds.
  select t.is_active, t.daily_quota, t.monthly_quota,
    case when t.daily_quota is not null then greatest(t.daily_quota - day_used, 0) end,
    case when t.monthly_quota is not null then greatest(t.monthly_quota - month_used, 0) end,
    exists (select from api_keys k where k.tenant_id = in_tenant and k.id = with_key and k.revoked_at is null
      and coalesce(k.expires_at > now(), true))
  into is_active, day_quota, month_quota, day_left, month_left, key_holds
  from teams t where t.tenant_id = in_tenant and t.id = of_team;
  verdict := chat_verdict(is_active, with_key is not null, key_holds, day_left, month_left);
  if verdict = 'admitted' then
    day_left := day_left - 1;
    month_left := month_left - 1;
    insert into quota_leases (
      tenant_id, id, team_id, api_key_id, session_id, user_id, endpoint, model, input_tokens, request_id, day_on,
      month_on, expires_at)
    values (in_tenant, lease, of_team, with_key, in_session, by_user, to_endpoint, for_model, tokens, request, on_day,
      on_month, now() + make_interval(secs => seconds));
  else
    perform quota_counted(in_tenant, of_team, 'month', on_month, -1, 0);
    perform quota_counted(in_tenant, of_team, 'day', on_day, -1, 0);
  end if;
  return json_build_object('verdict', verdict, 'day_quota', day_quota, 'day_left', day_left,
    'month_quota', month_quota, 'month_left', month_left);
end $$;

create or replace function chat_admit(asked jsonb, again boolean default false)
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
  looked_at uuid;
  key_holds boolean;
begin
  if jsonb_array_length(asked) > 1 then
    select jsonb_agg(r order by r ->> 'tenant', r ->> 'team', (r ->> 'place')::integer) into asked
    from jsonb_array_elements(asked) r;
  end if;
  for nth in 0 .. jsonb_array_length(asked) - 1 loop
    one := asked -> nth;
    with_key := one ->> 'key';
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
        case when t.monthly_quota is not null then greatest(t.monthly_quota - month_used, 0) end,
        exists (select from api_keys k where k.tenant_id = in_tenant and k.id = with_key and k.revoked_at is null
          and coalesce(k.expires_at > now(), true))
      into is_active, day_quota, month_quota, day_left, month_left, key_holds
      from teams t where t.tenant_id = in_tenant and t.id = of_team;
      looked_at := with_key;
    elsif with_key is distinct from looked_at then
      key_holds := exists (
        select from api_keys k where k.tenant_id = in_tenant and k.id = with_key and k.revoked_at is null
          and coalesce(k.expires_at > now(), true));
      looked_at := with_key;
    end if;
    place := one ->> 'place';
    if again then
      -- In one look: it is here or there, whoever settles it meanwhile.
      is_known := exists (select from quota_leases l where l.tenant_id = in_tenant and l.id = (one ->> 'lease')::uuid)
        or exists (select from usage_logs u where u.tenant_id = in_tenant and u.id = (one ->> 'lease')::uuid);
    end if;
    verdict := case when is_known then 'admitted'
      else chat_verdict(is_active, with_key is not null, key_holds, day_left, month_left) end;
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

grant create on schema public to switchboard_worker;
do $$
declare f regprocedure;
begin
  for f in select oid::regprocedure from pg_proc where pronamespace = 'public'::regnamespace and proname = 'chat_admit_one'
  loop
    execute format('alter function %s owner to switchboard_worker', f);
    execute format('revoke all on function %s from public', f);
    execute format('grant execute on function %s to switchboard_service', f);
  end loop;
end $$;
revoke create on schema public from switchboard_worker;
revoke all on function chat_verdict(boolean, boolean, boolean, bigint, bigint) from public;
grant execute on function chat_verdict(boolean, boolean, boolean, bigint, bigint) to switchboard_worker;
