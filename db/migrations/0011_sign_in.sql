-- Who may be meant by an e-mail, whether they are asked for a second factor, and from which addresses they were
-- let in lately.
drop function sign_in_candidates(text, uuid);
create function sign_in_candidates(wanted text, only_tenant uuid)
returns table (
  tenant_id uuid, user_id uuid, tenant_name text, password_hash text, may_sign_in boolean, has_second_factor boolean,
  addresses text[]
) language plpgsql stable security definer set search_path = pg_catalog, public as $$
begin
  return query select u.tenant_id, u.id, t.name, s.password_hash,
    u.status = 'active' and tenant_is_open(u.tenant_id),
    s.totp_confirmed_at is not null,
    array(select n.address from (
      select x.address from sessions x where x.tenant_id = u.tenant_id and x.owner_user_id = u.id
      order by x.id desc limit 50) n where n.address is not null)
  from users u
  join tenants t on t.id = u.tenant_id
  left join user_security s on s.tenant_id = u.tenant_id and s.id = u.id
  where u.email = wanted and (only_tenant is null or u.tenant_id = only_tenant)
  order by u.id limit 5;
end $$;

grant create on schema public to switchboard_worker;
alter function sign_in_candidates(text, uuid) owner to switchboard_worker;
revoke all on function sign_in_candidates(text, uuid) from public;
grant execute on function sign_in_candidates(text, uuid) to switchboard_service;
revoke create on schema public from switchboard_worker;
