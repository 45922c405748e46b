-- With a status known beforehand a planner joins the whole of tenants and sorts it for a page of twenty; without, it
-- walks the closure along its index and looks each one up until the page is full.
alter function tenants_below(uuid, text, uuid, integer) set plan_cache_mode = force_generic_plan;
