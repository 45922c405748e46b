-- People: finding them by how their name begins, and by e-mail when they cannot sign in.

create index idx_users_display_name on users (tenant_id, lower(display_name) text_pattern_ops);

-- Who is meant by an e-mail that asks for a new password: people who could sign in with one.
create function password_reset_candidates(wanted text, only_tenant uuid)
returns table (tenant_id uuid, user_id uuid) language plpgsql stable security definer
set search_path = pg_catalog, public as $$
begin
  return query select u.tenant_id, u.id from users u
  where u.email = wanted and u.kind = 'person' and u.status = 'active'
    and (only_tenant is null or u.tenant_id = only_tenant) and tenant_is_open(u.tenant_id)
  order by u.id limit 5;
end $$;

grant create on schema public to switchboard_worker;
alter function password_reset_candidates(text, uuid) owner to switchboard_worker;
revoke all on function password_reset_candidates(text, uuid) from public;
grant execute on function password_reset_candidates(text, uuid) to switchboard_service;
revoke create on schema public from switchboard_worker;
