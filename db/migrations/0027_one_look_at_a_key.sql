-- The same admission: a key is looked at together with its team, and once for all of its requests that come together.

-- Admits each request asked for, or says why not: `admitted`, `no_team` (none, or not active), `no_key` (revoked or
-- over), `day`, `month` (that quota is used up). `*_left` is what is left after the request; null: without end.
-- `again`: an answer to the same question may have been lost. Who was let in then is so still, settled or not, and is
-- counted once. `calendar` is the tenant's, as it was found; whoever names it in a question spares the next a look,
-- until the day ends.
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
    verdict := case
      when is_known then 'admitted'
      when not coalesce(is_active, false) then 'no_team'
      when with_key is not null and not coalesce(key_holds, false) then 'no_key'
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
