-- Tenants under way: made below a descendant, moved, closed. What a verb must know of tenants it does not see
-- is told by functions that answer one narrow question, and only to a tenant at or above those it is about.

create policy tenants_below_create on tenants for insert
with check (exists (
  select 1 from tenant_closure c
  where c.ancestor_id = nullif(current_setting('app.tenant_id', true), '')::uuid and c.tenant_id = tenants.parent_id
));
-- A scalar subquery is looked up row by row; of `exists` the planner may make a hash of everything below.
alter policy tenants_below on tenants using (
  parent_id = nullif(current_setting('app.tenant_id', true), '')::uuid or (
    select true from tenant_closure c
    where c.ancestor_id = nullif(current_setting('app.tenant_id', true), '')::uuid and c.tenant_id = tenants.id
  )
);
alter policy tenants_below_change on tenants using ((
  select true from tenant_closure c
  where c.ancestor_id = nullif(current_setting('app.tenant_id', true), '')::uuid and c.tenant_id = tenants.id
)) with check ((
  select true from tenant_closure c
  where c.ancestor_id = nullif(current_setting('app.tenant_id', true), '')::uuid and c.tenant_id = tenants.id
));

drop index idx_tenants_parent_id;
create index idx_tenants_parent_id on tenants (parent_id, id); -- Children, a page at a time.

-- What a tenant shows of the tenants above it is part of its version, though nobody wrote to it.
create function tenants_touch() returns trigger language plpgsql set search_path = pg_catalog, public as $$
begin
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 millisecond');
  return new;
end $$;
create trigger tenants_touch before update of level, is_open, barrier_level on tenants
  for each row when (
    (new.level, new.is_open) is distinct from (old.level, old.is_open)
  ) execute function tenants_touch();

create function tenant_is_within(tenant uuid, top uuid) returns boolean language sql stable security definer
set search_path = pg_catalog, public as $$
  select exists (select from tenant_closure c where c.tenant_id = tenant and c.ancestor_id = top)
    and exists (select from tenant_closure c
      where c.tenant_id = top and c.ancestor_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
$$;

-- A page of those below a tenant, newest first.
create function tenants_below(top uuid, wanted text, before uuid, most integer) returns setof uuid
language plpgsql stable security definer set search_path = pg_catalog, public as $$
begin
  if not tenant_is_within(top, nullif(current_setting('app.tenant_id', true), '')::uuid) then return; end if;
  return query select c.tenant_id from tenant_closure c
  where c.ancestor_id = top and c.depth > 0
    and c.tenant_id < coalesce(before, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    and (wanted is null or exists (select from tenants t where t.id = c.tenant_id and t.status = wanted))
  order by c.tenant_id desc limit least(most, 101);
end $$;

-- How much lies at or below a tenant, each counted as far as `most` and among as many tenants at the most.
create function tenant_extent(top uuid, most integer) returns table (tenants bigint, users bigint, api_keys bigint)
language plpgsql stable security definer set search_path = pg_catalog, public as $$
begin
  if not tenant_is_within(top, nullif(current_setting('app.tenant_id', true), '')::uuid) then return; end if;
  return query with b as materialized (
    select c.tenant_id from tenant_closure c where c.ancestor_id = top limit most
  ) select
    (select count(*) from b),
    (select count(*) from (select from b join users u on u.tenant_id = b.tenant_id
      where u.status = 'active' limit most) u),
    (select count(*) from (select from b join api_keys k on k.tenant_id = b.tenant_id
      where k.revoked_at is null and (k.expires_at is null or k.expires_at > now()) limit most) k);
end $$;

-- What others come to hold when `child` lies below `parent` and inherits or not: what is bound above and begins to
-- reach in, and what names a tenant at or below it and lives in a home that only now lies above. `counts` are the
-- reaches that begin to count. It says what, never whose.
create function rights_gained(child uuid, parent uuid, inherits boolean)
returns table (
  tenant_id uuid, system_role text, permission text, reach text, is_root boolean, counts text[]
) language plpgsql stable security definer set search_path = pg_catalog, public as $$
declare
  acting uuid := nullif(current_setting('app.tenant_id', true), '')::uuid;
  here record;
  above record;
begin
  select t.* into here from tenants t where t.id = child and tenant_is_within(child, acting);
  select t.* into above from tenants t
  where t.id = parent and (t.id = here.parent_id or tenant_is_within(parent, acting));
  if here.id is null or above.id is null then return; end if;
  return query
  with lines as (
    select c.ancestor_id as id, above.level - c.depth as level, o.ancestor_id is not null as was_above
    from tenant_closure c
    left join tenant_closure o on o.tenant_id = child and o.ancestor_id = c.ancestor_id
    where c.tenant_id = parent
  ), reaching as (
    select l.id, case
      when inherits and l.level >= above.barrier_level and not (l.was_above and l.level >= here.barrier_level)
      then case when l.was_above then array['subtree'] else array['subtree', 'global'] end
      when not l.was_above then array['global']
    end as counts
    from lines l
  ), given as (
    select child as at, b.tenant_id as home, b.system_role, b.role_id, r.counts
    from reaching r
    join role_bindings b on b.applies_to_tenant_id = r.id and b.revoked_at is null
      and coalesce(b.ends_at > now(), true)
    join tenant_closure h on h.tenant_id = r.id and h.ancestor_id = b.tenant_id
    where r.counts is not null
    union all
    select b.applies_to_tenant_id, b.tenant_id, b.system_role, b.role_id, array['self', 'tenant', 'subtree', 'global']
    from lines l
    join role_bindings b on b.tenant_id = l.id and b.revoked_at is null and coalesce(b.ends_at > now(), true)
    join tenant_closure d on d.tenant_id = b.applies_to_tenant_id and d.ancestor_id = child
    where not l.was_above
  )
  select distinct g.at, g.system_role, p.permission, p.reach, home.parent_id is null, g.counts
  from given g
  join tenants home on home.id = g.home
  left join permission_bindings p on p.tenant_id = g.home and p.role_id = g.role_id
  where g.system_role is not null or p.reach = any (g.counts) or (p.reach = 'global' and 'subtree' = any (g.counts));
end $$;

-- Whether another tenant has shown a name to be its own. Whoever asks is alone with the name until they commit.
create function domain_is_taken(wanted text) returns boolean language plpgsql volatile security definer
set search_path = pg_catalog, public as $$
begin
  perform pg_advisory_xact_lock(hashtextextended(wanted, 2));
  return exists (
    select from domains d where d.name = wanted and d.verified_at is not null
      and d.tenant_id is distinct from nullif(current_setting('app.tenant_id', true), '')::uuid
  );
end $$;

grant create on schema public to switchboard_worker;
do $$
declare f regprocedure;
begin
  for f in select oid::regprocedure from pg_proc where pronamespace = 'public'::regnamespace and prosecdef
    and proowner <> 'switchboard_worker'::regrole and proname in (
      'tenant_is_within', 'tenants_below', 'tenant_extent', 'rights_gained', 'domain_is_taken')
  loop
    execute format('alter function %s owner to switchboard_worker', f);
    execute format('revoke all on function %s from public', f);
    execute format('grant execute on function %s to switchboard_service', f);
  end loop;
end $$;
revoke create on schema public from switchboard_worker;
