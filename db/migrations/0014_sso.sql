-- Signing in begins before a tenant is known: which identity providers are meant by an id, by a tenant, or by
-- a domain that a tenant has shown to be its own. Names alone; nothing of an unverified domain.

create index idx_identity_providers_id on identity_providers (id); -- By id alone, for the function below.

create function sso_choices(provider uuid, tenant uuid, domain text)
returns table (tenant_id uuid, id uuid, name text) language plpgsql stable security definer
set search_path = pg_catalog, public as $$
begin
  if provider is not null then
    return query select p.tenant_id, p.id, p.name from identity_providers p
      where p.id = provider and p.is_active and tenant_is_open(p.tenant_id);
  elsif tenant is not null then
    return query select p.tenant_id, p.id, p.name from identity_providers p
      where p.tenant_id = tenant and p.is_active and tenant_is_open(tenant) order by p.id limit 20;
  else
    return query select p.tenant_id, p.id, p.name from domains d
      join identity_providers p on p.tenant_id = d.tenant_id
      where d.name = domain and d.verified_at is not null and p.is_active and tenant_is_open(p.tenant_id)
      order by p.id limit 20;
  end if;
end $$;

grant create on schema public to switchboard_worker;
alter function sso_choices(uuid, uuid, text) owner to switchboard_worker;
revoke create on schema public from switchboard_worker;
revoke all on function sso_choices(uuid, uuid, text) from public;
grant execute on function sso_choices(uuid, uuid, text) to switchboard_service;
