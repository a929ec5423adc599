-- What the cleanup needs: to find what is old without reading the rest, to let a month of events go, and to know how far
-- it came. What it may delete stands in grants.sql.

CREATE INDEX orders_ended ON orders (ended_at, order_id) WHERE parent IS NULL AND state IN ('finished', 'cancelled');
CREATE INDEX commands_at ON commands (at);
CREATE INDEX events_default_at ON events_default (at);

-- Branches carry the id of their top order before the first colon.
CREATE VIEW live_orders AS
    SELECT split_part(order_id, ':', 1) COLLATE "C" AS top, min(added_at) AS added_at FROM orders
    WHERE state IN ('scheduled', 'started') OR state = 'failed' AND parent IS NULL GROUP BY 1;
COMMENT ON VIEW live_orders IS 'Top orders that may still go on, or of which a branch may; nothing of theirs is ever cleaned up';

-- The service may not own tables: it asks for the drop by this, which has the last word on what is old enough. What orders
-- that still live have done in that month goes to the default partition.
CREATE FUNCTION ordo_drop_event_partition(month date, cut_off timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    first date := date_trunc('month', month)::date;
    next  timestamptz := (date_trunc('month', month) + interval '1 month')::timestamp AT TIME ZONE 'UTC';
    name  text := 'events_' || to_char(first, 'YYYY_MM');
    total bigint;
    kept  bigint;
BEGIN
    IF next > least(cut_off, now() - interval '1 day') THEN
        RAISE EXCEPTION 'events of % are not old enough to go', to_char(first, 'YYYY-MM') USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM pg_advisory_xact_lock(7306362171);
    IF NOT EXISTS (SELECT 1 FROM pg_inherits WHERE inhparent = 'public.events'::regclass AND inhrelid = to_regclass('public.' || name)) THEN
        RETURN 0;
    END IF;
    EXECUTE format('SELECT count(*) FROM %I', name) INTO total;
    EXECUTE format('ALTER TABLE events DETACH PARTITION %I', name);
    EXECUTE format('INSERT INTO events SELECT e.* FROM live_orders l JOIN %1$I e ON e.order_id = l.top WHERE l.added_at < %2$L
        UNION ALL SELECT e.* FROM live_orders l JOIN %1$I e ON e.order_id > l.top || '':'' AND e.order_id < l.top || '';'' WHERE l.added_at < %2$L',
        name, next);
    GET DIAGNOSTICS kept = ROW_COUNT;
    EXECUTE format('DROP TABLE %I', name);
    RETURN total - kept;
END $$;
REVOKE ALL ON FUNCTION ordo_drop_event_partition(date, timestamptz) FROM PUBLIC;

CREATE TABLE cleanup_runs (
    run        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asked_by   text,
    retention  integer,
    batch      integer NOT NULL,
    dry_run    boolean NOT NULL DEFAULT false,
    started_at timestamptz NOT NULL,
    until      timestamptz,
    ended_at   timestamptz,
    state      text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'stopped', 'failed'))
);
CREATE UNIQUE INDEX cleanup_runs_running ON cleanup_runs (state) WHERE state = 'running';
COMMENT ON TABLE cleanup_runs IS 'One at a time; a restarted service goes on with the one that runs';
COMMENT ON COLUMN cleanup_runs.asked_by IS 'null: the window opened';
COMMENT ON COLUMN cleanup_runs.retention IS 'Version of the definition; null: the defaults';
COMMENT ON COLUMN cleanup_runs.dry_run IS 'It only counts';
COMMENT ON COLUMN cleanup_runs.until IS 'When the window closes; null: until all is done';

CREATE TABLE cleanup_steps (
    run      bigint NOT NULL REFERENCES cleanup_runs ON DELETE CASCADE,
    kind     text NOT NULL,
    number   integer NOT NULL,
    cut_off  timestamptz NOT NULL,
    state    text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'done', 'failed')),
    batches  bigint NOT NULL DEFAULT 0,
    position json,
    counts   json NOT NULL DEFAULT '{}',
    error    text,
    moved_at timestamptz,
    PRIMARY KEY (run, kind)
);
COMMENT ON TABLE cleanup_steps IS 'What of a run is done: moved in the transaction that deletes, only by who knows the present number of batches';
COMMENT ON COLUMN cleanup_steps.cut_off IS 'What ended before it goes';
COMMENT ON COLUMN cleanup_steps.position IS 'Where the next batch begins';
COMMENT ON COLUMN cleanup_steps.counts IS 'What is gone, by what it was';

CREATE TABLE cleanup_retention (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version     integer NOT NULL,
    hash        text NOT NULL,
    deployed_at timestamptz NOT NULL
);
COMMENT ON TABLE cleanup_retention IS 'The retention named default, as it is deployed; none: the defaults hold';
