-- A key's row says how often its tenant's access had changed when it was read: until that changes it need not be
-- read again. One snapshot, so that the epoch is that of the rest.
drop function api_key_by_id(uuid);
create function api_key_by_id(wanted uuid)
returns table (
  tenant_id uuid, owner_user_id uuid, secret_hash text, scopes text[], expires_at timestamptz, revoked_at timestamptz,
  last_used_at timestamptz, is_open boolean, grants jsonb, networks text[], key_networks text[], epoch bigint
) language plpgsql stable security definer set search_path = pg_catalog, public as $$
begin
  return query select k.tenant_id, k.owner_user_id, k.secret_hash, k.scopes, k.expires_at::timestamptz,
    k.revoked_at::timestamptz, k.last_used_at::timestamptz, s.holds, s.grants, s.networks,
    array(select n.network from client_access n where n.tenant_id = k.tenant_id and n.api_key_id = k.id),
    s.home_epoch
  from api_keys k cross join lateral standing_of(k.tenant_id, k.owner_user_id, null, k.tenant_id) s
  where k.id = wanted;
end $$;

grant create on schema public to switchboard_worker;
do $$
declare f regprocedure;
begin
  for f in select oid::regprocedure from pg_proc where pronamespace = 'public'::regnamespace and prosecdef
    and proowner <> 'switchboard_worker'::regrole and proname = 'api_key_by_id'
  loop
    execute format('alter function %s owner to switchboard_worker', f);
    execute format('revoke all on function %s from public', f);
    execute format('grant execute on function %s to switchboard_service', f);
  end loop;
end $$;
revoke create on schema public from switchboard_worker;
