-- When keys were last used, many at a time: a key's use is written once a minute, whoever saw it. One that another
-- writes at this moment is left to that one.
grant update (last_used_at) on api_keys to switchboard_worker;
create policy worker_notes_use on api_keys for update to switchboard_worker using (true) with check (true);

create function api_keys_used(uses jsonb) returns integer language plpgsql volatile security definer
set search_path = pg_catalog, public set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  written integer;
begin
  with use as materialized (
    select * from jsonb_to_recordset(uses) as u (tenant uuid, id uuid, at timestamptz)
  ), due as materialized (
    select k.tenant_id, k.id, u.at from use u join api_keys k on k.tenant_id = u.tenant and k.id = u.id
    where coalesce(k.last_used_at <= u.at - interval '1 minute', true)
    for no key update of k skip locked
  )
  update api_keys k set last_used_at = d.at from due d where k.tenant_id = d.tenant_id and k.id = d.id;
  get diagnostics written = row_count;
  return written;
end $$;

grant create on schema public to switchboard_worker;
alter function api_keys_used(jsonb) owner to switchboard_worker;
revoke create on schema public from switchboard_worker;
revoke all on function api_keys_used(jsonb) from public;
grant execute on function api_keys_used(jsonb) to switchboard_service;
