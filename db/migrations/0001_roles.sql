-- The service logs in as a member of switchboard_service: it owns nothing and cannot pass the second lock.
-- switchboard_worker logs in nowhere: it owns the few functions that must see before a tenant is known.
do $$
declare name text;
begin
  foreach name in array array['switchboard_service', 'switchboard_worker'] loop
    begin
      if not exists (select from pg_roles where rolname = name) then
        execute format('create role %I nologin nosuperuser nocreatedb nocreaterole nobypassrls', name);
      end if;
    exception when duplicate_object or unique_violation then null; -- Another database of this server was first.
    end;
  end loop;
  begin
    -- From PostgreSQL 16 on, who made a role administers it but may not act as it until granted so.
    execute format('grant switchboard_worker to %I', current_user);
  exception when insufficient_privilege or invalid_grant_operation then null; -- A superuser need not.
  end;
end $$;

do $$
declare t text;
begin
  for t in select relname from pg_class where relnamespace = 'public'::regnamespace and relrowsecurity loop
    execute format('alter table %I force row level security', t);
  end loop;
end $$;

grant select, insert, update on
  tenants, users, user_security, sessions, roles, role_bindings, api_keys,
  platforms, platform_credentials, service_platforms, user_platform_bindings, oauth_flows,
  cache_epochs, encryption_keys
to switchboard_service;
grant select, insert, update, delete on
  permission_bindings, data_keys, idempotency_keys, instances, leases
to switchboard_service;
grant select on tenant_closure to switchboard_service;
grant select, insert on audit_entries, events to switchboard_service;

-- What the worker may see, and nothing else.
grant select on
  tenants, tenant_closure, users, user_security, sessions, roles, permission_bindings, role_bindings, api_keys,
  service_platforms, user_platform_bindings, cache_epochs, data_keys
to switchboard_worker;
grant insert on tenant_closure to switchboard_worker;
grant select, delete on idempotency_keys, oauth_flows to switchboard_worker;
do $$
declare t text;
begin
  foreach t in array array[
    'tenants', 'tenant_closure', 'users', 'user_security', 'sessions', 'roles', 'permission_bindings',
    'role_bindings', 'api_keys', 'service_platforms', 'user_platform_bindings', 'cache_epochs', 'data_keys',
    'idempotency_keys', 'oauth_flows'
  ] loop
    execute format('create policy worker_reads on %I for select to switchboard_worker using (true)', t);
  end loop;
end $$;
create policy worker_writes on tenant_closure for insert to switchboard_worker with check (true);
create policy worker_sweeps on idempotency_keys for delete to switchboard_worker using (expires_at < now());
create policy worker_sweeps on oauth_flows for delete to switchboard_worker using (expires_at < now() - interval '1 day');
