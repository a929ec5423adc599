-- Rights of the other roles, as far as they exist. Applied at the end of every migration; says the whole of it each time.
DO $$
DECLARE
    service text;
BEGIN
    -- What every service has; what it may do beyond stands below.
    FOREACH service IN ARRAY ARRAY['ordo_history', 'ordo_daily_plan', 'ordo_monitor', 'ordo_cleanup', 'ordo_log_notification'] LOOP
        CONTINUE WHEN NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = service);
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %I', service);
        EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', service);
        EXECUTE format('GRANT SELECT ON site, migrations, projections, outbox, timers TO %I', service);
        EXECUTE format('GRANT INSERT, UPDATE ON site, projections TO %I', service);
        EXECUTE format('GRANT INSERT, UPDATE, DELETE ON outbox, timers TO %I', service);
    END LOOP;
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'ordo_history') THEN
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO ordo_history;
        GRANT INSERT ON events, commands TO ordo_history;
        GRANT INSERT, UPDATE ON orders, steps, logs, log_chunks, workflows, locks, agents, agent_instances,
            controllers TO ordo_history;
        GRANT EXECUTE ON FUNCTION ordo_create_event_partition(date) TO ordo_history;
    END IF;
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'ordo_cleanup') THEN
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO ordo_cleanup;
        -- Months of events go by the function alone, which has the last word on their age.
        GRANT DELETE ON orders, steps, logs, log_chunks, events_default, commands, notifications, mails, monitor_threads,
            plan_starts, plan_skips, plan_orders TO ordo_cleanup;
        GRANT INSERT, UPDATE, DELETE ON cleanup_runs, cleanup_steps, cleanup_retention TO ordo_cleanup;
        GRANT EXECUTE ON FUNCTION ordo_drop_event_partition(date, timestamptz) TO ordo_cleanup;
    END IF;
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'ordo_monitor') THEN
        -- Title, folder and tags of workflows of which no order could be made.
        GRANT SELECT ON orders TO ordo_monitor;
        GRANT SELECT, INSERT, UPDATE, DELETE ON monitor_definitions, monitor_orders, monitor_controller, notifications,
            monitor_threads, monitor_floods, monitor_gathered, mails, deliveries TO ordo_monitor;
    END IF;
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'ordo_daily_plan') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON plan_schedules, plan_changes, plan_orders, plan_starts, plan_skips,
            plan_notes TO ordo_daily_plan;
    END IF;
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'ordo_log_notification') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON log_rules, log_folds TO ordo_log_notification;
    END IF;
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'ordo_read') THEN
        GRANT USAGE ON SCHEMA public TO ordo_read;
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO ordo_read;
        ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO ordo_read;
    END IF;
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'ordo_backup') THEN
        GRANT USAGE ON SCHEMA public TO ordo_backup;
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO ordo_backup;
        GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO ordo_backup;
        ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO ordo_backup;
        ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON SEQUENCES TO ordo_backup;
    END IF;
END $$;
