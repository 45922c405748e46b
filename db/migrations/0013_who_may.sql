-- Questions about access: the evaluator's rows along indexes whatever the statistics say, who may, where, and why.

-- `offset 0` keeps each lookup its own: joined freely, a plan made for few rows reads all bindings of a tenant, or
-- all groups around one, as soon as there are many. One generic plan a session, instead of six.
create or replace function access_rows(home uuid, subject uuid, acting uuid, counting_only boolean)
returns table (
  binding_id uuid, group_id uuid, member_group_id uuid, applies_to uuid, system_role text, role_id uuid,
  permission text, reach text, depth integer, passes boolean, is_current boolean, is_active boolean, until timestamptz
) language plpgsql stable security definer set search_path = pg_catalog, public
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
begin
  return query
  select b.id, b.group_id, b.entered, b.applies_to_tenant_id, b.system_role, b.role_id, p.permission, p.reach, c.depth,
    c.depth = 0 or here.level - c.depth >= here.barrier_level,
    coalesce(b.from_at <= now(), true) and coalesce(b.to_at > now(), true),
    b.system_role is not null or coalesce(r.is_active, false),
    case when b.from_at > now() then b.from_at when b.to_at > now() then b.to_at end
  from (select t.level, t.barrier_level from tenants t where t.id = acting) here
  cross join lateral (
    select b.id, b.group_id, null::uuid as entered, b.applies_to_tenant_id, b.system_role, b.role_id,
      b.starts_at::timestamptz as from_at, b.ends_at::timestamptz as to_at
    from role_bindings b
    where b.tenant_id = home and b.owner_user_id = subject and b.revoked_at is null
    union all
    select b.id, b.group_id, m.group_id, b.applies_to_tenant_id, b.system_role, b.role_id,
      greatest(b.starts_at, m.starts_at), least(b.ends_at, m.ends_at)
    from group_members m
    cross join lateral (
      select g.ancestor_id from group_closure g
      where g.tenant_id = home and g.group_id = m.group_id and g.is_bound offset 0
    ) g
    cross join lateral (
      select * from role_bindings b
      where b.tenant_id = home and b.group_id = g.ancestor_id and b.revoked_at is null offset 0
    ) b
    where m.tenant_id = home and m.owner_user_id = subject
  ) b
  cross join lateral (
    select from tenant_closure h where h.tenant_id = b.applies_to_tenant_id and h.ancestor_id = home offset 0
  ) h
  left join lateral (
    select c.depth from tenant_closure c
    where c.tenant_id = acting and c.ancestor_id = b.applies_to_tenant_id offset 0
  ) c on true
  left join lateral (select r.is_active from roles r where r.tenant_id = home and r.id = b.role_id offset 0) r on true
  left join lateral (
    select p.permission, p.reach from permission_bindings p
    where p.tenant_id = home and p.role_id = b.role_id offset 0
  ) p on true
  where not counting_only or (
    c.depth is not null and coalesce(b.to_at > now(), true) and (b.system_role is not null or r.is_active)
    and (c.depth = 0 or b.system_role is not null or p.reach in ('subtree', 'global'))
  );
end $$;

create or replace function standing_of(home uuid, subject uuid, session uuid, acting uuid)
returns table (
  holds boolean, grants jsonb, networks text[], revoked uuid[], home_epoch bigint, acting_epoch bigint
) language plpgsql stable security definer set search_path = pg_catalog, public
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
begin
  return query select
    exists (select 1 from users u where u.tenant_id = home and u.id = subject and u.status = 'active')
      and tenant_is_open(acting)
      and exists (select 1 from tenant_closure c where c.tenant_id = acting and c.ancestor_id = home)
      and (session is null or exists (
        select 1 from sessions s where s.tenant_id = home and s.id = session and s.owner_user_id = subject
          and s.revoked_at is null and s.expires_at > now())),
    (select coalesce(jsonb_agg(to_jsonb(g)), '[]') from (
      select distinct r.system_role, r.permission, r.reach, r.depth, r.passes, r.is_current, r.is_active, r.until
      from access_rows(home, subject, acting, true) r) g),
    array(select n.network from client_access n where n.tenant_id = acting and n.api_key_id is null),
    case when session is null then '{}'::uuid[] else
      array(select t.id from revoked_tokens t
        where t.tenant_id = home and t.owner_user_id = subject and t.expires_at > now()) end,
    coalesce((select e.epoch from cache_epochs e where e.tenant_id = home and e.topic = 'access'), 0),
    coalesce((select e.epoch from cache_epochs e where e.tenant_id = acting and e.topic = 'access'), 0);
end $$;

-- Whether a tenant lies at or below the one that asks.
create function is_ours(tenant uuid) returns boolean language plpgsql stable security definer
set search_path = pg_catalog, public as $$
begin
  return exists (select 1 from tenant_closure c where c.tenant_id = tenant
    and c.ancestor_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
end $$;

-- Whether a question is about a user who lives, and about a tenant that lies, at or below the tenant that asks.
create function asked_about(home uuid, subject uuid, place uuid) returns table (is_user boolean, is_place boolean)
language plpgsql stable security definer set search_path = pg_catalog, public as $$
begin
  return query select
    is_ours(home) and exists (select 1 from users u where u.tenant_id = home and u.id = subject), is_ours(place);
end $$;

-- Whom a page of "who may" has to look at, in order: of all who may, nobody is passed over.
create index idx_role_bindings_who on role_bindings
  (applies_to_tenant_id, tenant_id, coalesce(system_role, role_id::text), owner_user_id) where revoked_at is null;

-- Everybody with a binding that may give `wanted` in `acting`, by their id, and how they stand there: the evaluator
-- says who of them may. `giving` is the system roles that give it, each with its reach. Each role bound to a tenant
-- is found by one step along the index, and of each source no more than a page is read. That it stays so: row
-- security keeps a cast from being a constant, so the role is named in the order; and a correlated `exists` may be
-- turned into reading all users once, a scalar subquery is not.
create function who_may(acting uuid, wanted text, giving jsonb, is_everybodys boolean, after uuid, most integer)
returns table (user_id uuid, home_id uuid, holds boolean, grants jsonb)
language plpgsql stable security definer set search_path = pg_catalog, public
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
  begins constant uuid := coalesce(after, '00000000-0000-0000-0000-000000000000');
  enough constant integer := least(most, 200);
  is_open constant boolean := tenant_is_open(acting);
begin
  if not is_ours(acting) then return; end if;
  return query
  with recursive roles_bound as (
    select c.ancestor_id as applies_to, c.depth, here.level - c.depth >= here.barrier_level as passes, k.*
    from (select t.level, t.barrier_level from tenants t where t.id = acting) here
    cross join tenant_closure c
    cross join lateral (
      select b.tenant_id as home, coalesce(b.system_role, b.role_id::text) as role_key, b.system_role, b.role_id
      from role_bindings b where b.applies_to_tenant_id = c.ancestor_id and b.revoked_at is null
      order by b.tenant_id, coalesce(b.system_role, b.role_id::text) limit 1
    ) k
    where c.tenant_id = acting
    union all
    select r.applies_to, r.depth, r.passes, k.*
    from roles_bound r
    cross join lateral (
      select b.tenant_id as home, coalesce(b.system_role, b.role_id::text) as role_key, b.system_role, b.role_id
      from role_bindings b where b.applies_to_tenant_id = r.applies_to and b.revoked_at is null
        and (b.tenant_id, coalesce(b.system_role, b.role_id::text)) > (r.home, r.role_key)
      order by b.tenant_id, coalesce(b.system_role, b.role_id::text) limit 1
    ) k
  ), sources as materialized (
    select b.applies_to, b.home, b.role_key from roles_bound b
    left join lateral (
      select p.reach from roles r join permission_bindings p on p.tenant_id = r.tenant_id and p.role_id = r.id
      where r.tenant_id = b.home and r.id = b.role_id and r.is_active and p.permission = wanted offset 0
    ) own on true
    where coalesce(giving ->> b.system_role, own.reach) = any(case
      when b.depth = 0 then '{self,tenant,subtree,global}'::text[]
      when b.passes then '{subtree,global}'
      when (select t.level from tenants t where t.id = b.home) = 0 then '{global}' end)
  ), groups_in as (
    select distinct s.home, g.group_id from sources s
    cross join lateral (
      select b.group_id, b.starts_at, b.ends_at from role_bindings b
      where b.applies_to_tenant_id = s.applies_to and b.tenant_id = s.home
        and coalesce(b.system_role, b.role_id::text) = s.role_key and b.owner_user_id is null and b.revoked_at is null
      order by coalesce(b.system_role, b.role_id::text), b.owner_user_id offset 0
    ) b
    cross join lateral (
      select g.group_id from group_closure g where g.tenant_id = s.home and g.ancestor_id = b.group_id offset 0
    ) g
    where coalesce(b.starts_at <= now(), true) and coalesce(b.ends_at > now(), true)
  ), candidates as (
    select u.id as user_id, acting as home from users u
    where is_everybodys and u.tenant_id = acting and u.id > begins order by u.id limit enough
  ), page as (
    select c.user_id, c.home from candidates c
    union
    select b.owner_user_id, s.home from sources s
    cross join lateral (
      select b.owner_user_id from role_bindings b
      where b.applies_to_tenant_id = s.applies_to and b.tenant_id = s.home
        and coalesce(b.system_role, b.role_id::text) = s.role_key and b.owner_user_id > begins and b.revoked_at is null
      order by coalesce(b.system_role, b.role_id::text), b.owner_user_id limit enough
    ) b
    union
    select m.owner_user_id, g.home from groups_in g
    cross join lateral (
      select m.owner_user_id from group_members m
      where m.tenant_id = g.home and m.group_id = g.group_id and m.owner_user_id > begins
      order by m.owner_user_id limit enough
    ) m
    order by 1 limit enough
  )
  select s.user_id, s.home,
    is_open and coalesce(
      (select u.status = 'active' from users u where u.tenant_id = s.home and u.id = s.user_id)
        and (select true from tenant_closure c where c.tenant_id = acting and c.ancestor_id = s.home), false),
    (select coalesce(jsonb_agg(to_jsonb(g)), '[]') from access_rows(s.home, s.user_id, acting, true) g
      where g.permission = wanted or giving ? g.system_role)
  from page s order by s.user_id;
end $$;

-- The tenants at or below `top` where a user may hold `wanted`, by their id, and how they stand in each.
create function where_may(
  home uuid, subject uuid, top uuid, wanted text, giving jsonb, is_everybodys boolean, after uuid, most integer
) returns table (tenant_id uuid, holds boolean, grants jsonb)
language plpgsql stable security definer set search_path = pg_catalog, public
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
  begins constant uuid := coalesce(after, '00000000-0000-0000-0000-000000000000');
  enough constant integer := least(most, 200);
begin
  if not is_ours(top) or not exists (
    select 1 from users u where u.tenant_id = home and u.id = subject and u.status = 'active'
  ) then return; end if;
  return query
  with named as (
    select g.applies_to, g.depth, bool_or(coalesce(giving ->> g.system_role, g.reach) in ('subtree', 'global')) as is_wide
    from access_rows(home, subject, top, false) g
    where g.is_current and g.is_active and (g.permission = wanted or giving ? g.system_role)
    group by g.applies_to, g.depth
    union
    select home, (select c.depth from tenant_closure c where c.tenant_id = top and c.ancestor_id = home), false
    where is_everybodys
  ), roots as materialized (
    select distinct case when n.depth is null then n.applies_to else top end as id, n.is_wide from named n
    where case when n.depth is null
      then (select true from tenant_closure c where c.tenant_id = n.applies_to and c.ancestor_id = top)
      else n.is_wide or n.depth = 0 end
  ), page as (
    select r.id from roots r where r.id > begins
    union
    select c.tenant_id from roots r
    cross join lateral (
      select c.tenant_id from tenant_closure c where c.ancestor_id = r.id and c.tenant_id > begins
      order by c.tenant_id limit enough
    ) c
    where r.is_wide
    order by 1 limit enough
  )
  select s.id,
    tenant_is_open(s.id)
      and coalesce((select true from tenant_closure c where c.tenant_id = s.id and c.ancestor_id = home), false),
    (select coalesce(jsonb_agg(to_jsonb(g)), '[]') from access_rows(home, subject, s.id, true) g
      where g.permission = wanted or giving ? g.system_role)
  from page s order by s.id;
end $$;


-- The shortest way from a group up to one it lies in, both included.
create function group_path(home uuid, lowest uuid, highest uuid) returns uuid[]
language plpgsql stable security definer set search_path = pg_catalog, public as $$
declare
  layer uuid[] := array[lowest];
  seen uuid[] := array[lowest];
  seen_from uuid[] := array[null::uuid];
  found_from uuid[];
  path uuid[] := array[highest];
begin
  while not highest = any(seen) loop
    select array_agg(n.group_id), array_agg(n.member_group_id) into layer, found_from from (
      select distinct on (m.group_id) m.group_id, m.member_group_id from group_members m
      join group_closure c on c.tenant_id = home and c.group_id = m.group_id and c.ancestor_id = highest
      where m.tenant_id = home and m.member_group_id = any(layer) and m.group_id <> all(seen)
      order by m.group_id, m.member_group_id
    ) n;
    if layer is null then return null; end if;
    seen := seen || layer;
    seen_from := seen_from || found_from;
  end loop;
  while path[1] <> lowest loop
    path := seen_from[array_position(seen, path[1])] || path;
  end loop;
  return path;
end $$;

-- Everything a person must be told to see why a user may or may not do something in `acting`: in one snapshot. Of
-- the tenants only those at or below the one that asks are named. What counts comes first, the farthest reach before others.
create function explain_access(home uuid, subject uuid, acting uuid, wanted text, giving jsonb, most integer)
returns table (
  is_active boolean, is_within boolean, closed_depth integer, barrier_depth integer, shown_depth integer,
  tenants jsonb, bindings jsonb
) language plpgsql stable security definer set search_path = pg_catalog, public
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
begin
  return query
  with given as (
    select g.*, coalesce(giving ->> g.system_role, g.reach) as word
    from access_rows(home, subject, acting, false) g where g.permission = wanted or giving ? g.system_role
  ), ranked as (
    select g.*, row_number() over (
      partition by c.counts
      order by array_position('{global,subtree,tenant,self}'::text[], g.word), g.binding_id, g.member_group_id
    ) as place, c.counts
    from given g cross join lateral (
      select g.is_current and g.is_active and g.depth is not null and (g.depth = 0 or g.word = 'global'
        or g.word = 'subtree' and g.passes) as counts
    ) c
  ), told as (
    select r.*, o.name as role_name,
      (select t.name from tenants t where t.id = r.applies_to and is_ours(t.id)) as place_name, b.starts_at as bound_from, b.ends_at as bound_to,
      m.starts_at as member_from, m.ends_at as member_to, (
        select jsonb_agg(jsonb_build_object('id', p.id, 'name', n.name) order by p.step)
        from unnest(group_path(home, r.member_group_id, r.group_id)) with ordinality p (id, step)
        join groups n on n.tenant_id = home and n.id = p.id
      ) as group_names
    from ranked r
    join role_bindings b on b.tenant_id = home and b.id = r.binding_id
    left join roles o on o.tenant_id = home and o.id = r.role_id
    left join group_members m on m.tenant_id = home and m.group_id = r.member_group_id and m.owner_user_id = subject
    where r.place <= least(most, 200)
  )
  select
    exists (select 1 from users u where u.tenant_id = home and u.id = subject and u.status = 'active'),
    exists (select 1 from tenant_closure c where c.tenant_id = acting and c.ancestor_id = home),
    (select min(c.depth) from tenant_closure c join tenants t on t.id = c.ancestor_id
      where c.tenant_id = acting and t.status <> 'active'),
    (select t.level - t.barrier_level from tenants t where t.id = acting and t.barrier_level > 0),
    shown.depth,
    (select jsonb_agg(jsonb_build_object('id', t.id, 'name', t.name, 'status', t.status) order by c.depth)
      from tenant_closure c join tenants t on t.id = c.ancestor_id
      where c.tenant_id = acting and c.depth <= shown.depth),
    (select coalesce(jsonb_agg(to_jsonb(t) order by t.counts desc, t.place), '[]') from told t)
  from tenant_closure shown where shown.tenant_id = acting
    and shown.ancestor_id = nullif(current_setting('app.tenant_id', true), '')::uuid;
end $$;

grant create on schema public to switchboard_worker;
do $$
declare f regprocedure;
begin
  for f in select oid::regprocedure from pg_proc where pronamespace = 'public'::regnamespace and prosecdef
    and proowner <> 'switchboard_worker'::regrole
    and proname in ('is_ours', 'asked_about', 'who_may', 'where_may', 'group_path', 'explain_access')
  loop
    execute format('alter function %s owner to switchboard_worker', f);
    execute format('revoke all on function %s from public', f);
    execute format('grant execute on function %s to switchboard_service', f);
  end loop;
end $$;
revoke create on schema public from switchboard_worker;
