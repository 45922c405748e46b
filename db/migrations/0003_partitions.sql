-- Audit entries and events lie in monthly partitions over the id, whose first 48 bits are milliseconds.
-- Owned by the owner of the tables; the service may call them and so keep the months coming.

create function uuid_floor(moment timestamptz) returns uuid language sql immutable
set search_path = pg_catalog as $$
  select (lpad(to_hex((extract(epoch from moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- Makes this month's partition and those of the `ahead` months after it; answers how many it made.
create function ensure_partitions(ahead integer) returns integer language plpgsql security definer
set search_path = pg_catalog, public as $$
declare
  parent text;
  month timestamptz;
  child text;
  made integer := 0;
begin
  perform pg_advisory_xact_lock(hashtext('switchboard.partitions'));
  foreach parent in array array['audit_entries', 'events'] loop
    for i in -1 .. least(greatest(ahead, 0), 24) loop
      month := (date_trunc('month', now() at time zone 'UTC') + make_interval(months => i)) at time zone 'UTC';
      child := format('%s_%s', parent, to_char(month at time zone 'UTC', 'YYYY_MM'));
      if to_regclass('public.' || child) is null then
        execute format('create table public.%I partition of public.%I for values from (%L) to (%L)',
          child, parent, uuid_floor(month),
          uuid_floor(((month at time zone 'UTC') + interval '1 month') at time zone 'UTC'));
        made := made + 1;
      end if;
    end loop;
  end loop;
  return made;
end $$;

-- Retention: audit entries for 400 days, events for 90. Stated here, so that no caller can ask for less.
create function drop_old_partitions() returns integer language plpgsql security definer
set search_path = pg_catalog, public as $$
declare
  old record;
  dropped integer := 0;
begin
  perform pg_advisory_xact_lock(hashtext('switchboard.partitions'));
  for old in
    select c.relname from pg_inherits i
    join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent
    where p.relname in ('audit_entries', 'events') and c.relname ~ '_\d{4}_\d{2}$'
      and to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month' <
        now() - case p.relname when 'audit_entries' then interval '400 days' else interval '90 days' end
  loop
    execute format('drop table public.%I', old.relname);
    dropped := dropped + 1;
  end loop;
  return dropped;
end $$;

revoke all on function ensure_partitions(integer), drop_old_partitions() from public;
grant execute on function ensure_partitions(integer), drop_old_partitions() to switchboard_service;
select ensure_partitions(3);
