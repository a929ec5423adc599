-- The plan: schedules as the journal says they are, and each of their starts ahead and behind.

CREATE TABLE plan_schedules (
    schedule        text COLLATE "C" PRIMARY KEY,
    version         integer NOT NULL,
    hash            text NOT NULL,
    suspended       boolean NOT NULL DEFAULT false,
    removed         boolean NOT NULL DEFAULT false,
    changed_at      timestamptz NOT NULL,
    planned_version integer,
    planned_active  boolean NOT NULL DEFAULT false,
    definition      json,
    planned_through timestamptz,
    trouble         text
) WITH (fillfactor = 70);
COMMENT ON TABLE plan_schedules IS 'Deployed schedules: version to removed as the journal says, planned_version and definition what the plan goes by';
COMMENT ON COLUMN plan_schedules.planned_active IS 'Neither suspended nor removed, as far as it is planned';
COMMENT ON COLUMN plan_schedules.planned_through IS 'Every start up to here is in plan_starts, or in plan_skips';
COMMENT ON COLUMN plan_schedules.trouble IS 'Why it is not planned, in words';

CREATE TABLE plan_changes (
    schedule text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    index    integer NOT NULL,
    at       timestamptz NOT NULL,
    change   text NOT NULL CHECK (change IN ('deployed', 'removed', 'suspended', 'resumed')),
    version  integer NOT NULL,
    hash     text NOT NULL,
    active   boolean NOT NULL,
    PRIMARY KEY (schedule, sequence, index)
);
COMMENT ON TABLE plan_changes IS 'Of schedules, read from the journal and not yet planned: up to its time the schedule before it counts';

CREATE TABLE plan_orders (
    fingerprint bigint PRIMARY KEY,
    body        json NOT NULL
);
COMMENT ON TABLE plan_orders IS 'What a start asks of the controller, but for its time';

CREATE TABLE plan_starts (
    schedule         text COLLATE "C" NOT NULL,
    instant          timestamptz NOT NULL,
    parameterisation text COLLATE "C" NOT NULL,
    business_day     date NOT NULL,
    workflow         text COLLATE "C" NOT NULL,
    version          integer NOT NULL,
    state            text NOT NULL CHECK (state IN ('planned', 'sent', 'refused', 'submitted', 'recalled', 'withdrawn', 'started',
                                                    'finished', 'failed', 'late', 'skipped', 'cancelled')),
    submit_at        timestamptz NOT NULL,
    wanted           bigint,
    sent             bigint,
    generation       integer NOT NULL DEFAULT 0,
    alone            boolean NOT NULL DEFAULT false,
    command          text COLLATE "C",
    tries            integer NOT NULL DEFAULT 0,
    tried_at         timestamptz,
    order_id         text COLLATE "C",
    found            json,
    started_at       timestamptz,
    ended_at         timestamptz,
    late_ms          bigint,
    reason           text,
    PRIMARY KEY (schedule, instant, parameterisation)
) WITH (fillfactor = 80);
CREATE INDEX plan_starts_day ON plan_starts (business_day, instant);
CREATE INDEX plan_starts_order ON plan_starts (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX plan_starts_due ON plan_starts (submit_at) WHERE state = 'planned';
CREATE INDEX plan_starts_asked ON plan_starts (command) WHERE state IN ('sent', 'recalled');
CREATE INDEX plan_starts_changed ON plan_starts (schedule) WHERE state = 'submitted' AND (wanted IS DISTINCT FROM sent OR found IS NOT NULL);
CREATE INDEX plan_starts_refused ON plan_starts (workflow) WHERE state = 'refused';
COMMENT ON TABLE plan_starts IS 'One order of a schedule at one instant: planned, handed to the controller (sent until the journal tells the outcome), and what became of it';
COMMENT ON COLUMN plan_starts.wanted IS 'Of plan_orders: what it shall be by the present schedule; null: nothing';
COMMENT ON COLUMN plan_starts.sent IS 'What the controller was asked for';
COMMENT ON COLUMN plan_starts.generation IS 'Counts what was refused or taken back: another one has another command id';
COMMENT ON COLUMN plan_starts.alone IS 'A command with others was refused: it gets one of its own';
COMMENT ON COLUMN plan_starts.command IS 'The last one about it';
COMMENT ON COLUMN plan_starts.found IS 'An order of it in the journal that was not planned here: the rows were restored from an older copy';

CREATE TABLE plan_skips (
    schedule text COLLATE "C" NOT NULL,
    first    timestamptz NOT NULL,
    last     timestamptz NOT NULL,
    count    bigint NOT NULL,
    reason   text NOT NULL,
    PRIMARY KEY (schedule, first)
);
COMMENT ON TABLE plan_skips IS 'Stretches of starts that were too many to be made up for, both ends included';

CREATE TABLE plan_notes (
    command  text COLLATE "C" PRIMARY KEY,
    notes    json NOT NULL,
    tries    integer NOT NULL DEFAULT 0,
    tried_at timestamptz
);
COMMENT ON TABLE plan_notes IS 'What the controller is asked to journal about starts, until it has';
