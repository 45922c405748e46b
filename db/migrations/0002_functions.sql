-- What must be found before a tenant is known, or across tenants. Each answers one narrow question.
-- Owned by switchboard_worker, whose policies stand in 0001; the search path is fixed.

create function tenant_closure_add() returns trigger language plpgsql security definer
set search_path = pg_catalog, public as $$
begin
  insert into tenant_closure (tenant_id, ancestor_id, depth)
  select new.id, c.ancestor_id, c.depth + 1 from tenant_closure c where c.tenant_id = new.parent_id
  union all select new.id, new.id, 0;
  return null;
end $$;
create trigger tenant_closure_add after insert on tenants
  for each row execute function tenant_closure_add();

-- The next five stand in every request's way. They are plpgsql, whose plans a session keeps: before
-- PostgreSQL 18 a definer function in language sql is planned anew at every call.

-- Open: it and everything above it is active.
create function tenant_is_open(tenant uuid) returns boolean language plpgsql stable security definer
set search_path = pg_catalog, public as $$
begin
  return (select count(*) > 0 and bool_and(t.status = 'active')
    from tenant_closure c join tenants t on t.id = c.ancestor_id where c.tenant_id = tenant);
end $$;

-- The grants of a user of `home` that count in `acting`: those that name it, and from above those that reach down.
-- A home gives nothing in a tenant above or beside itself, whatever its rows say.
create function effective_grants(home uuid, subject uuid, acting uuid)
returns table (system_role text, permission text, reach text, depth integer) language plpgsql stable security definer
set search_path = pg_catalog, public as $$
begin
  return query select b.system_role, p.permission, p.reach, c.depth
  from role_bindings b
  join tenant_closure c on c.tenant_id = acting and c.ancestor_id = b.applies_to_tenant_id
  join tenant_closure h on h.tenant_id = b.applies_to_tenant_id and h.ancestor_id = home
  left join roles r on r.tenant_id = b.tenant_id and r.id = b.role_id and r.is_active
  left join permission_bindings p on p.tenant_id = r.tenant_id and p.role_id = r.id
  where b.tenant_id = home and b.owner_user_id = subject
    and (b.starts_at is null or b.starts_at <= now()) and (b.ends_at is null or b.ends_at > now())
    and (b.system_role is not null or p.permission is not null)
    and (c.depth = 0 or b.system_role is not null or p.reach in ('subtree', 'global'));
end $$;

-- Who may be meant by an e-mail, and from which addresses they were let in lately.
create function sign_in_candidates(wanted text, only_tenant uuid)
returns table (
  tenant_id uuid, user_id uuid, tenant_name text, password_hash text, may_sign_in boolean, addresses text[]
) language plpgsql stable security definer set search_path = pg_catalog, public as $$
begin
  return query select u.tenant_id, u.id, t.name, s.password_hash,
    u.status = 'active' and tenant_is_open(u.tenant_id),
    array(select n.address from (
      select x.address from sessions x where x.tenant_id = u.tenant_id and x.owner_user_id = u.id
      order by x.id desc limit 50) n where n.address is not null)
  from users u
  join tenants t on t.id = u.tenant_id
  left join user_security s on s.tenant_id = u.tenant_id and s.id = u.id
  where u.email = wanted and (only_tenant is null or u.tenant_id = only_tenant)
  order by u.id limit 5;
end $$;

create function api_key_by_id(wanted uuid)
returns table (
  tenant_id uuid, owner_user_id uuid, secret_hash text, scopes text[], expires_at timestamptz, revoked_at timestamptz,
  last_used_at timestamptz, is_open boolean, grants jsonb
) language plpgsql stable security definer set search_path = pg_catalog, public as $$
begin
  return query select k.tenant_id, k.owner_user_id, k.secret_hash, k.scopes, k.expires_at::timestamptz,
    k.revoked_at::timestamptz, k.last_used_at::timestamptz,
    u.status = 'active' and tenant_is_open(k.tenant_id),
    (select coalesce(jsonb_agg(g), '[]') from effective_grants(k.tenant_id, k.owner_user_id, k.tenant_id) g)
  from api_keys k join users u on u.tenant_id = k.tenant_id and u.id = k.owner_user_id
  where k.id = wanted;
end $$;

create function epochs_of(tenant uuid) returns table (topic text, epoch bigint)
language plpgsql stable security definer set search_path = pg_catalog, public as $$
begin
  return query select e.topic, e.epoch from cache_epochs e where e.tenant_id = tenant;
end $$;

create function platform_use(platform uuid) returns table (registrations bigint, bindings bigint)
language sql stable security definer set search_path = pg_catalog, public as $$
  select
    (select count(*) from (select from service_platforms s where s.platform_id = platform and s.is_active limit 1000) s),
    (select count(*) from (select from user_platform_bindings b
      where b.platform_id = platform and b.state <> 'revoked' limit 1000) b)
$$;

create function platform_registrations(platform uuid) returns bigint
language sql stable security definer set search_path = pg_catalog, public as $$
  select count(*) from (select from service_platforms s where s.platform_id = platform limit 1000) s
$$;

create function tenant_ids(after uuid, most integer) returns table (id uuid)
language sql stable security definer set search_path = pg_catalog, public as $$
  select t.id from tenants t where after is null or t.id > after order by t.id limit least(most, 1000)
$$;

create function data_keys_under(encryption_key text) returns bigint
language sql stable security definer set search_path = pg_catalog, public as $$
  select count(*) from data_keys k where k.encryption_key_id = encryption_key
$$;

-- Requests and flows past their time. Bounded, so that a sweep never holds many rows.
create function sweep_expired(most integer) returns bigint
language sql security definer set search_path = pg_catalog, public as $$
  with k as (
    delete from idempotency_keys where (tenant_id, id) in (
      select tenant_id, id from idempotency_keys where expires_at < now() limit most) returning 1
  ), f as (
    delete from oauth_flows where (tenant_id, id) in (
      select tenant_id, id from oauth_flows where expires_at < now() - interval '1 day' limit most) returning 1
  )
  select (select count(*) from k) + (select count(*) from f)
$$;

grant create on schema public to switchboard_worker;
do $$
declare f regprocedure;
begin
  for f in select oid::regprocedure from pg_proc where pronamespace = 'public'::regnamespace and prosecdef loop
    execute format('alter function %s owner to switchboard_worker', f);
    execute format('revoke all on function %s from public', f);
    execute format('grant execute on function %s to switchboard_service', f);
  end loop;
end $$;
revoke create on schema public from switchboard_worker;
grant execute on function tenant_is_open(uuid), effective_grants(uuid, uuid, uuid) to switchboard_worker;

-- What makes a login unfit to serve: each column true is a reason. Asked by the login itself.
create function login_powers() returns table (superuser boolean, "able to bypass row security" boolean, "an owner" boolean, "the worker" boolean)
language sql stable set search_path = pg_catalog, public as $$
  select r.rolsuper, r.rolbypassrls,
    exists (select from pg_class c where c.relnamespace = 'public'::regnamespace and pg_has_role(current_user, c.relowner, 'member')),
    pg_has_role(current_user, 'switchboard_worker', 'member')
  from pg_roles r where r.rolname = current_user
$$;
