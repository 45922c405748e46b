-- The tree, the groups and the bindings as a check reads them. Triggers keep what is derived, so that no
-- verb can forget it; they belong to switchboard_worker, like every function that sees more than one tenant.

do $$
declare t text;
begin
  foreach t in array array[
    'tenant_addresses', 'domains', 'revoked_tokens', 'foreign_id_types', 'foreign_ids', 'groups', 'group_members',
    'group_closure', 'client_access', 'invitations', 'password_resets', 'recovery_codes', 'identity_providers',
    'identity_provider_groups', 'user_identities', 'sso_flows'
  ] loop
    execute format('alter table %I force row level security', t);
    execute format('create policy worker_reads on %I for select to switchboard_worker using (true)', t);
    execute format('grant select on %I to switchboard_worker', t);
  end loop;
end $$;

grant select, insert, update on
  domains, groups, invitations, password_resets, recovery_codes, identity_providers, user_identities, sso_flows,
  foreign_id_types, revoked_tokens
to switchboard_service;
grant select, insert, update, delete on
  tenant_addresses, foreign_ids, group_members, client_access, identity_provider_groups
to switchboard_service;
grant delete on domains, recovery_codes, foreign_id_types to switchboard_service;
grant select on group_closure to switchboard_service;

-- The service writes what a tenant says of itself; the derived columns are the triggers'.
revoke update on tenants from switchboard_service;
grant update (updated_at, schema_version, metadata, parent_id, name, status, time_zone, inherits_access)
on tenants to switchboard_service;

grant update (is_open, level, barrier_level) on tenants to switchboard_worker;
grant update, delete on tenant_closure to switchboard_worker;
grant insert, update, delete on group_closure to switchboard_worker;
grant insert, update on cache_epochs to switchboard_worker;
grant delete on revoked_tokens, password_resets, sso_flows to switchboard_worker;
create policy worker_places on tenants for update to switchboard_worker using (true) with check (true);
create policy worker_moves on tenant_closure for delete to switchboard_worker using (true);
create policy worker_writes on group_closure for all to switchboard_worker using (true) with check (true);
create policy worker_counts on cache_epochs for all to switchboard_worker using (true) with check (true);
create policy worker_sweeps on revoked_tokens for delete to switchboard_worker using (expires_at < now());
create policy worker_sweeps on password_resets for delete to switchboard_worker using (expires_at < now() - interval '1 day');
create policy worker_sweeps on sso_flows for delete to switchboard_worker using (expires_at < now() - interval '1 day');

-- Locks, taken in this order: the tree, then tenants from the top down. Whoever changes the tree waits for all
-- who decide by it, and the other way round; whoever changes who may do what in a tenant does so alone there.
create function lock_tree() returns void language sql volatile set search_path = pg_catalog, public as $$
  select pg_advisory_xact_lock(hashtextextended('switchboard.tenants', 0))
$$;
create function lock_tree_shared() returns void language sql volatile set search_path = pg_catalog, public as $$
  select pg_advisory_xact_lock_shared(hashtextextended('switchboard.tenants', 0))
$$;
create function lock_access(tenant uuid) returns void language sql volatile set search_path = pg_catalog, public as $$
  select pg_advisory_xact_lock(hashtextextended(tenant::text, 1))
$$;
create function lock_access_shared(tenant uuid) returns void language sql volatile set search_path = pg_catalog, public as $$
  select pg_advisory_xact_lock_shared(hashtextextended(tenant::text, 1))
$$;

-- Tenants -------------------------------------------------------------------------------------------------

create function tenants_hold_tree() returns trigger language plpgsql set search_path = pg_catalog, public as $$
begin
  -- Before any row is locked: the other order would let two changes wait for each other.
  if tg_op = 'INSERT' then perform lock_tree_shared(); else perform lock_tree(); end if;
  return null;
end $$;
create trigger tenants_hold_tree_insert before insert on tenants
  for each statement execute function tenants_hold_tree();
create trigger tenants_hold_tree_update before update of parent_id, status, inherits_access on tenants
  for each statement execute function tenants_hold_tree();

create function tenants_place() returns trigger language plpgsql security definer
set search_path = pg_catalog, public as $$
declare above record;
begin
  if tg_op = 'UPDATE' then
    if new.parent_id is distinct from old.parent_id and (new.parent_id is null or
      exists (select 1 from tenant_closure c where c.tenant_id = new.parent_id and c.ancestor_id = new.id)) then
      raise exception 'a tenant cannot lie below itself' using errcode = 'integrity_constraint_violation';
    end if;
    return new;
  end if;
  select t.level, t.is_open, t.barrier_level into above from tenants t where t.id = new.parent_id;
  new.level := coalesce(above.level + 1, 0);
  new.is_open := new.status = 'active' and coalesce(above.is_open, true);
  new.barrier_level := case when new.inherits_access then coalesce(above.barrier_level, 0) else new.level end;
  return new;
end $$;
create trigger tenants_place before insert or update of parent_id on tenants
  for each row execute function tenants_place();

-- Below a tenant whose place, status or inheritance changed: what a check reads, and the epoch that says so.
create function tenants_settle() returns trigger language plpgsql security definer
set search_path = pg_catalog, public as $$
begin
  if new.parent_id is distinct from old.parent_id then
    delete from tenant_closure c
    where c.tenant_id in (select b.tenant_id from tenant_closure b where b.ancestor_id = new.id)
      and c.ancestor_id in (select a.ancestor_id from tenant_closure a where a.tenant_id = new.id and a.depth > 0);
    insert into tenant_closure (tenant_id, ancestor_id, depth)
    select b.tenant_id, a.ancestor_id, b.depth + 1 + a.depth
    from tenant_closure b, tenant_closure a where b.ancestor_id = new.id and a.tenant_id = new.parent_id;
  end if;
  update tenants t set level = n.level, is_open = n.is_open, barrier_level = n.barrier_level
  from (
    select p.tenant_id, p.level, bool_and(a.status = 'active') as is_open,
      coalesce(max(p.level - c.depth) filter (where not a.inherits_access), 0) as barrier_level
    from (
      select b.tenant_id, (select max(d.depth) from tenant_closure d where d.tenant_id = b.tenant_id) as level
      from tenant_closure b where b.ancestor_id = new.id
    ) p
    join tenant_closure c on c.tenant_id = p.tenant_id
    join tenants a on a.id = c.ancestor_id
    group by p.tenant_id, p.level
  ) n
  where t.id = n.tenant_id
    and (t.level, t.is_open, t.barrier_level) is distinct from (n.level, n.is_open, n.barrier_level);
  insert into cache_epochs as e (tenant_id, topic)
  select b.tenant_id, 'access' from tenant_closure b where b.ancestor_id = new.id
  order by b.tenant_id
  on conflict (tenant_id, topic) do update set epoch = e.epoch + 1;
  return null;
end $$;
create trigger tenants_settle after update of parent_id, status, inherits_access on tenants
  for each row when (
    new.parent_id is distinct from old.parent_id or new.status <> old.status
    or new.inherits_access <> old.inherits_access
  ) execute function tenants_settle();

-- Open: it and everything above it is active.
create or replace function tenant_is_open(tenant uuid) returns boolean language plpgsql stable security definer
set search_path = pg_catalog, public as $$
begin
  return coalesce((select t.is_open from tenants t where t.id = tenant), false);
end $$;

-- Groups --------------------------------------------------------------------------------------------------

create function groups_place() returns trigger language plpgsql security definer
set search_path = pg_catalog, public as $$
begin
  insert into group_closure (tenant_id, group_id, ancestor_id) values (new.tenant_id, new.id, new.id);
  return null;
end $$;
create trigger groups_place after insert on groups for each row execute function groups_place();

create function group_members_hold() returns trigger language plpgsql security definer
set search_path = pg_catalog, public as $$
begin
  perform lock_access(coalesce(new.tenant_id, old.tenant_id));
  if tg_op = 'INSERT' and exists (
    select 1 from group_closure c
    where c.tenant_id = new.tenant_id and c.group_id = new.group_id and c.ancestor_id = new.member_group_id
  ) then
    raise exception 'a group cannot lie in itself' using errcode = 'integrity_constraint_violation';
  end if;
  return coalesce(new, old);
end $$;
create trigger group_members_hold before insert or delete on group_members
  for each row execute function group_members_hold();

create function group_members_settle() returns trigger language plpgsql security definer
set search_path = pg_catalog, public as $$
begin
  if tg_op = 'INSERT' then
    insert into group_closure (tenant_id, group_id, ancestor_id, is_bound)
    select b.tenant_id, b.group_id, a.ancestor_id, a.is_bound
    from group_closure b, group_closure a
    where b.tenant_id = new.tenant_id and b.ancestor_id = new.member_group_id
      and a.tenant_id = new.tenant_id and a.group_id = new.group_id
    on conflict do nothing;
    return null;
  end if;
  -- Another way up may be left: what lies in the removed member is led up anew.
  with recursive below as (
    select c.group_id from group_closure c where c.tenant_id = old.tenant_id and c.ancestor_id = old.member_group_id
  ), up (group_id, ancestor_id) as (
    select b.group_id, b.group_id from below b
    union
    select u.group_id, m.group_id from up u
    join group_members m on m.tenant_id = old.tenant_id and m.member_group_id = u.ancestor_id
  )
  delete from group_closure c using below b
  where c.tenant_id = old.tenant_id and c.group_id = b.group_id
    and not exists (select 1 from up u where u.group_id = c.group_id and u.ancestor_id = c.ancestor_id);
  return null;
end $$;
create trigger group_members_settle_insert after insert on group_members
  for each row when (new.member_group_id is not null) execute function group_members_settle();
create trigger group_members_settle_delete after delete on group_members
  for each row when (old.member_group_id is not null) execute function group_members_settle();

create function role_bindings_settle() returns trigger language plpgsql security definer
set search_path = pg_catalog, public as $$
begin
  perform lock_access(new.tenant_id);
  update group_closure set is_bound = true
  where tenant_id = new.tenant_id and ancestor_id = new.group_id and not is_bound;
  return null;
end $$;
create trigger role_bindings_settle after insert on role_bindings
  for each row when (new.group_id is not null) execute function role_bindings_settle();

-- The evaluator's rows ------------------------------------------------------------------------------------

-- Every binding of a user of `home`, their own and those of the groups they lie in, as it stands towards `acting`:
-- one row a permission of a tenant's role, or one for a system role. With `counting_only` those alone that give
-- something there now; without it all, so that what is missing can be told. What they give is for
-- src/access/roles.ts to say. `depth` is null where `acting` does not lie below the tenant that is named.
create function access_rows(home uuid, subject uuid, acting uuid, counting_only boolean)
returns table (
  binding_id uuid, group_id uuid, member_group_id uuid, applies_to uuid, system_role text, role_id uuid,
  permission text, reach text, depth integer, passes boolean, is_current boolean, is_active boolean, until timestamptz
) language plpgsql stable security definer set search_path = pg_catalog, public as $$
begin
  return query
  with bound as (
    select b.*, null::uuid as entered, null::timestamptz as member_from, null::timestamptz as member_to
    from role_bindings b
    where b.tenant_id = home and b.owner_user_id = subject and b.revoked_at is null
    union all
    select b.*, m.group_id, m.starts_at::timestamptz, m.ends_at::timestamptz
    from group_members m
    join group_closure g on g.tenant_id = m.tenant_id and g.group_id = m.group_id and g.is_bound
    join role_bindings b on b.tenant_id = g.tenant_id and b.group_id = g.ancestor_id and b.revoked_at is null
    where m.tenant_id = home and m.owner_user_id = subject
  ), timed as (
    select b.*, greatest(b.starts_at, b.member_from) as from_at, least(b.ends_at, b.member_to) as to_at from bound b
  )
  select b.id, b.group_id, b.entered, b.applies_to_tenant_id, b.system_role, b.role_id, p.permission, p.reach, c.depth,
    c.depth = 0 or here.level - c.depth >= here.barrier_level,
    coalesce(b.from_at <= now(), true) and coalesce(b.to_at > now(), true),
    b.system_role is not null or coalesce(r.is_active, false),
    case when b.from_at > now() then b.from_at when b.to_at > now() then b.to_at end
  from timed b
  join tenants here on here.id = acting
  join tenant_closure h on h.tenant_id = b.applies_to_tenant_id and h.ancestor_id = home
  left join tenant_closure c on c.tenant_id = acting and c.ancestor_id = b.applies_to_tenant_id
  left join roles r on r.tenant_id = b.tenant_id and r.id = b.role_id
  left join permission_bindings p on p.tenant_id = r.tenant_id and p.role_id = r.id
  where not counting_only or (
    c.depth is not null and coalesce(b.to_at > now(), true) and (b.system_role is not null or r.is_active)
    and (c.depth = 0 or b.system_role is not null or p.reach in ('subtree', 'global'))
  );
end $$;

drop function api_key_by_id(uuid);
drop function effective_grants(uuid, uuid, uuid);

-- How somebody stands: whether a token or key of theirs holds in `acting`, and with which rows. One snapshot, so
-- that the epochs are those of the rows. `session` is null for a key and for a question about a person.
create function standing_of(home uuid, subject uuid, session uuid, acting uuid)
returns table (
  holds boolean, grants jsonb, networks text[], revoked uuid[], home_epoch bigint, acting_epoch bigint
) language plpgsql stable security definer set search_path = pg_catalog, public as $$
begin
  return query select
    exists (select 1 from users u where u.tenant_id = home and u.id = subject and u.status = 'active')
      and tenant_is_open(acting)
      and exists (select 1 from tenant_closure c where c.tenant_id = acting and c.ancestor_id = home)
      and (session is null or exists (
        select 1 from sessions s where s.tenant_id = home and s.id = session and s.owner_user_id = subject
          and s.revoked_at is null and s.expires_at > now())),
    (select coalesce(jsonb_agg(to_jsonb(g)), '[]') from access_rows(home, subject, acting, true) g),
    array(select n.network from client_access n where n.tenant_id = acting and n.api_key_id is null),
    case when session is null then '{}'::uuid[] else
      array(select t.id from revoked_tokens t
        where t.tenant_id = home and t.owner_user_id = subject and t.expires_at > now()) end,
    coalesce((select e.epoch from cache_epochs e where e.tenant_id = home and e.topic = 'access'), 0),
    coalesce((select e.epoch from cache_epochs e where e.tenant_id = acting and e.topic = 'access'), 0);
end $$;

create function api_key_by_id(wanted uuid)
returns table (
  tenant_id uuid, owner_user_id uuid, secret_hash text, scopes text[], expires_at timestamptz, revoked_at timestamptz,
  last_used_at timestamptz, is_open boolean, grants jsonb, networks text[], key_networks text[]
) language plpgsql stable security definer set search_path = pg_catalog, public as $$
begin
  return query select k.tenant_id, k.owner_user_id, k.secret_hash, k.scopes, k.expires_at::timestamptz,
    k.revoked_at::timestamptz, k.last_used_at::timestamptz, s.holds, s.grants, s.networks,
    array(select n.network from client_access n where n.tenant_id = k.tenant_id and n.api_key_id = k.id)
  from api_keys k cross join lateral standing_of(k.tenant_id, k.owner_user_id, null, k.tenant_id) s
  where k.id = wanted;
end $$;

create or replace function sweep_expired(most integer) returns bigint
language sql security definer set search_path = pg_catalog, public as $$
  with k as (
    delete from idempotency_keys where (tenant_id, id) in (
      select tenant_id, id from idempotency_keys where expires_at < now() limit most) returning 1
  ), f as (
    delete from oauth_flows where (tenant_id, id) in (
      select tenant_id, id from oauth_flows where expires_at < now() - interval '1 day' limit most) returning 1
  ), r as (
    delete from revoked_tokens where (tenant_id, id) in (
      select tenant_id, id from revoked_tokens where expires_at < now() limit most) returning 1
  ), p as (
    delete from password_resets where (tenant_id, id) in (
      select tenant_id, id from password_resets where expires_at < now() - interval '1 day' limit most) returning 1
  ), s as (
    delete from sso_flows where (tenant_id, id) in (
      select tenant_id, id from sso_flows where expires_at < now() - interval '1 day' limit most) returning 1
  )
  select (select count(*) from k) + (select count(*) from f) + (select count(*) from r)
    + (select count(*) from p) + (select count(*) from s)
$$;

grant create on schema public to switchboard_worker;
do $$
declare f regprocedure;
begin
  for f in select oid::regprocedure from pg_proc where pronamespace = 'public'::regnamespace and prosecdef
    and proowner <> 'switchboard_worker'::regrole and proname in (
      'tenants_place', 'tenants_settle', 'groups_place', 'group_members_hold', 'group_members_settle',
      'role_bindings_settle', 'access_rows', 'standing_of', 'api_key_by_id')
  loop
    execute format('alter function %s owner to switchboard_worker', f);
    execute format('revoke all on function %s from public', f);
    execute format('grant execute on function %s to switchboard_service', f);
  end loop;
end $$;
revoke create on schema public from switchboard_worker;

-- What was there before is placed once; the owner is behind the wall, the worker is not.
set local role switchboard_worker;
update tenants t set level = n.level, is_open = n.is_open
from (
  select c.tenant_id, max(c.depth) as level, bool_and(a.status = 'active') as is_open
  from tenant_closure c join tenants a on a.id = c.ancestor_id group by c.tenant_id
) n
where t.id = n.tenant_id;
set local role none;
