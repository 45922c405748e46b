-- A status is looked up for each that is walked past: joined or hashed, the whole of tenants is read for a page of
-- twenty.
create or replace function tenants_below(top uuid, wanted text, before uuid, most integer) returns setof uuid
language plpgsql stable security definer set search_path = pg_catalog, public as $$
begin
  if not tenant_is_within(top, nullif(current_setting('app.tenant_id', true), '')::uuid) then return; end if;
  return query select c.tenant_id from tenant_closure c
  where c.ancestor_id = top and c.depth > 0
    and c.tenant_id < coalesce(before, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    and (wanted is null or (select t.status = wanted from tenants t where t.id = c.tenant_id))
  order by c.tenant_id desc limit least(most, 101);
end $$;
