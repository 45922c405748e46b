ALTER TABLE "teams" ADD COLUMN "keys_changed_at" timestamp (3) with time zone;
--> statement-breakpoint
-- Who comes alone is let in with a look less. A process believes a key until it hears of a change, within seconds, or
-- reads it again, within a minute: so admission looks at keys for two minutes after one of the team's was changed, and
-- what was taken back is felt at once as before.
create function api_keys_change_team() returns trigger language plpgsql set search_path = pg_catalog, public as $$
begin
  update teams set keys_changed_at = now() where tenant_id = new.tenant_id and id = new.team_id;
  return null;
end $$;
revoke all on function api_keys_change_team() from public;
create trigger api_keys_change_team after update of revoked_at, expires_at on api_keys
for each row when (new.team_id is not null) execute function api_keys_change_team();

-- Takes the place of chat_admit_one, which processes of before ask until they are gone. It answers in words, which are
-- read in a fraction of the time that JSON takes: the verdict, the day's quota, what is left of it, and the month's; -1
-- where there is no end. What goes the long way is answered as JSON.
create function chat_let_in(
  in_tenant uuid, of_team uuid, with_key uuid, lease uuid, in_session uuid, by_user text, to_endpoint text,
  for_model text, tokens integer, request text, seconds integer, again boolean, on_day date, on_month date,
  day_ends timestamptz, month_ends timestamptz
) returns text language plpgsql volatile security definer set search_path = pg_catalog, public
set plan_cache_mode = force_generic_plan as $$
declare
  month_used bigint;
  day_used bigint;
  is_active boolean;
  are_keys_new boolean;
  key_holds boolean := true;
  day_quota integer;
  month_quota integer;
  day_left bigint;
  month_left bigint;
  verdict text;
begin
  if again or coalesce(day_ends <= now(), true) then
    return to_json(a)::text from chat_admit(jsonb_build_array(jsonb_build_object(
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
    t.keys_changed_at > now() - interval '2 minutes'
  into is_active, day_quota, month_quota, day_left, month_left, are_keys_new
  from teams t where t.tenant_id = in_tenant and t.id = of_team;
  if are_keys_new and with_key is not null then
    key_holds := exists (select from api_keys k where k.tenant_id = in_tenant and k.id = with_key and k.revoked_at is null
      and coalesce(k.expires_at > now(), true));
  end if;
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
  return verdict || ' ' || coalesce(day_quota, -1) || ' ' || coalesce(day_left, -1) || ' ' || coalesce(month_quota, -1)
    || ' ' || coalesce(month_left, -1);
end $$;

grant create on schema public to switchboard_worker;
alter function chat_let_in owner to switchboard_worker;
revoke all on function chat_let_in from public;
grant execute on function chat_let_in to switchboard_service;
revoke create on schema public from switchboard_worker;
