-- The read model of one site. Text ids are compared by bytes (COLLATE "C"): branches of an order are the range behind it.

CREATE TABLE site (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    name       text NOT NULL
);
COMMENT ON TABLE site IS 'The one site whose history this database holds';

CREATE TABLE projections (
    stream      text PRIMARY KEY,
    incarnation text NOT NULL,
    sequence    bigint NOT NULL,
    hash        text NOT NULL,
    epoch       bigint NOT NULL DEFAULT 0,
    at          timestamptz,
    moved_at    timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
COMMENT ON TABLE projections IS 'How far a stream is in these tables; moved in the transaction of its rows, only by who knows the present value';
COMMENT ON COLUMN projections.incarnation IS 'Of the stream: new when it was made anew or restored';
COMMENT ON COLUMN projections.hash IS 'Chain hash of the last commit';
COMMENT ON COLUMN projections.epoch IS 'Highest ever seen';
COMMENT ON COLUMN projections.at IS 'Time of the last commit';

CREATE TABLE events (
    sequence bigint NOT NULL,
    index    integer NOT NULL,
    at       timestamptz NOT NULL,
    epoch    bigint NOT NULL,
    type     text NOT NULL,
    order_id text COLLATE "C",
    run_id   text COLLATE "C",
    cause    json NOT NULL,
    event    json NOT NULL,
    PRIMARY KEY (sequence, index, at)
) PARTITION BY RANGE (at);
CREATE INDEX events_order ON events (order_id, sequence) WHERE order_id IS NOT NULL;
COMMENT ON TABLE events IS 'Every event of the journal, verbatim';
COMMENT ON COLUMN events.index IS 'Of the event within its commit, from 0';
COMMENT ON COLUMN events.event IS 'json, not jsonb: the text is kept as it was written';
CREATE TABLE events_default PARTITION OF events DEFAULT;

-- The service that writes events may not own tables: it asks for the month by this.
CREATE FUNCTION ordo_create_event_partition(month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    first date := date_trunc('month', month)::date;
    next  date := (date_trunc('month', month) + interval '1 month')::date;
    name  text := 'events_' || to_char(first, 'YYYY_MM');
BEGIN
    IF first < date '2020-01-01' OR first > (now() + interval '2 years')::date THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(7306362171);
    IF to_regclass('public.' || name) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- What lies in the default partition stays there: moving it would stop the writer.
    IF EXISTS (SELECT 1 FROM events_default WHERE at >= first::timestamp AT TIME ZONE 'UTC' AND at < next::timestamp AT TIME ZONE 'UTC') THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I PARTITION OF events FOR VALUES FROM (%L) TO (%L)',
        name, to_char(first, 'YYYY-MM-DD') || ' 00:00:00+00', to_char(next, 'YYYY-MM-DD') || ' 00:00:00+00');
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION ordo_create_event_partition(date) FROM PUBLIC;

CREATE TABLE orders (
    order_id      text COLLATE "C" PRIMARY KEY,
    number        bigint NOT NULL UNIQUE,
    parent        text COLLATE "C",
    branch        text,
    forked_at     text,
    called        boolean NOT NULL DEFAULT false,
    scope         text COLLATE "C",
    workflow      text COLLATE "C" NOT NULL,
    version       integer NOT NULL,
    workflow_hash text NOT NULL,
    title         text,
    folder        text,
    tags          text[] NOT NULL DEFAULT '{}',
    business_day  date NOT NULL,
    priority      smallint NOT NULL,
    arguments     jsonb,
    added_by      text NOT NULL,
    reason        text,
    planned_at    timestamptz,
    added_at      timestamptz NOT NULL,
    started_at    timestamptz,
    ended_at      timestamptz,
    state         text NOT NULL CHECK (state IN ('scheduled', 'started', 'failed', 'finished', 'cancelled')),
    suspended     boolean NOT NULL DEFAULT false,
    outcome       jsonb,
    text          text
) WITH (fillfactor = 80);
CREATE INDEX orders_workflow ON orders (workflow, number);
CREATE INDEX orders_state ON orders (state, number);
COMMENT ON COLUMN orders.number IS 'Journal sequence * 16384 + count within the commit: the order in which they came to be';
COMMENT ON COLUMN orders.parent IS 'Of a branch of a fork, or of a called workflow';
COMMENT ON COLUMN orders.forked_at IS 'The position of the parent: its fork or call';
COMMENT ON COLUMN orders.scope IS 'Of a branch: the order whose arguments it shares; null: itself';
COMMENT ON COLUMN orders.outcome IS '{"result": "succeeded"} or {"result": "failed", "code": …, "arguments": {…}}; null while it runs and when cancelled';
COMMENT ON COLUMN orders.text IS 'The outcome in words';

CREATE TABLE steps (
    run_id         text COLLATE "C" PRIMARY KEY,
    number         bigint NOT NULL UNIQUE,
    order_id       text COLLATE "C" NOT NULL,
    position       text NOT NULL,
    job            text NOT NULL,
    attempt        integer NOT NULL,
    agent          text COLLATE "C" NOT NULL,
    instance       text,
    state          text NOT NULL CHECK (state IN ('sent', 'running', 'succeeded', 'warning', 'failed', 'lost', 'killed')),
    sent_at        timestamptz NOT NULL,
    claimed_at     timestamptz,
    kill_asked_at  timestamptz,
    started_at     timestamptz,
    ended_at       timestamptz,
    run_end        jsonb,
    return_code    integer,
    exit_code      integer,
    signal         integer,
    outcome        jsonb,
    text           text,
    results        jsonb,
    cpu_user_ms    bigint,
    cpu_system_ms  bigint,
    memory_peak    bigint,
    output_bytes   bigint,
    output_lines   bigint,
    output_kept    bigint,
    output_chunks  integer
) WITH (fillfactor = 70);
CREATE INDEX steps_order ON steps (order_id, number);
CREATE INDEX steps_agent ON steps (agent, number);
COMMENT ON TABLE steps IS 'Runs: each is one attempt of one job of one order';
COMMENT ON COLUMN steps.run_end IS 'How the process ended, as the agent measured it';
COMMENT ON COLUMN steps.return_code IS 'What expressions see: the exit code, or what stands for another end';
COMMENT ON COLUMN steps.outcome IS 'As the job''s exit codes judge it; null: it was run again';
COMMENT ON COLUMN steps.output_bytes IS 'Printed; output_kept and output_chunks are what the agent kept of it';

CREATE TABLE logs (
    run_id          text COLLATE "C" PRIMARY KEY,
    stored_chunks   bigint NOT NULL DEFAULT 0,
    stored_bytes    bigint NOT NULL DEFAULT 0,
    stored_lines    bigint NOT NULL DEFAULT 0,
    compressed      bigint NOT NULL DEFAULT 0,
    dropped_bytes   bigint NOT NULL DEFAULT 0,
    expected_chunks bigint,
    expected_bytes  bigint,
    complete        boolean GENERATED ALWAYS AS
        (expected_chunks IS NOT NULL AND stored_chunks = expected_chunks AND stored_bytes = expected_bytes) STORED
) WITH (fillfactor = 70);
COMMENT ON TABLE logs IS 'Of runs with output: what is stored, and from the end of the run what there is to store';
COMMENT ON COLUMN logs.dropped_bytes IS 'Came, but went over the limit of history: counted, not kept';

CREATE TABLE log_chunks (
    run_id     text COLLATE "C" NOT NULL,
    chunk      integer NOT NULL,
    at         timestamptz NOT NULL,
    size       integer NOT NULL,
    lines      integer NOT NULL,
    omitted    bigint NOT NULL DEFAULT 0,
    channel    text NOT NULL,
    compressed boolean NOT NULL,
    kept       boolean NOT NULL DEFAULT true,
    body       bytea NOT NULL,
    PRIMARY KEY (run_id, chunk)
);
ALTER TABLE log_chunks ALTER COLUMN body SET STORAGE EXTERNAL;
COMMENT ON COLUMN log_chunks.size IS 'Bytes as printed';
COMMENT ON COLUMN log_chunks.omitted IS 'Bytes that the agent left out before this chunk';
COMMENT ON COLUMN log_chunks.compressed IS 'body is one zstd frame; else the bytes themselves';
COMMENT ON COLUMN log_chunks.kept IS 'false: over the limit of history, body is empty';

CREATE TABLE workflows (
    workflow    text COLLATE "C" NOT NULL,
    version     integer NOT NULL,
    hash        text NOT NULL,
    deployed_at timestamptz NOT NULL,
    deployed_by text NOT NULL,
    reason      text,
    PRIMARY KEY (workflow, version)
);

CREATE TABLE locks (
    lock        text COLLATE "C" NOT NULL,
    version     integer NOT NULL,
    hash        text NOT NULL,
    title       text,
    capacity    bigint NOT NULL,
    deployed_at timestamptz NOT NULL,
    PRIMARY KEY (lock, version)
);

CREATE TABLE agents (
    agent    text COLLATE "C" PRIMARY KEY,
    title    text,
    added_at timestamptz NOT NULL,
    added_by text NOT NULL,
    reason   text
);

CREATE TABLE agent_instances (
    agent      text COLLATE "C" NOT NULL,
    instance   text COLLATE "C" NOT NULL,
    node       text,
    version    text,
    ready      boolean NOT NULL,
    ready_at   timestamptz,
    stopped_at timestamptz,
    PRIMARY KEY (agent, instance)
);

CREATE TABLE controllers (
    epoch          bigint PRIMARY KEY,
    instance       text NOT NULL,
    how            text NOT NULL,
    event_level    integer NOT NULL,
    activated_at   timestamptz NOT NULL,
    handed_over_at timestamptz,
    handed_over_to text,
    held_at        timestamptz,
    held_by        text,
    held_why       text
);
COMMENT ON TABLE controllers IS 'Activations of controllers; each ends with the next one';

CREATE TABLE commands (
    sequence   bigint NOT NULL,
    index      integer NOT NULL,
    at         timestamptz NOT NULL,
    command_id text,
    result     text NOT NULL CHECK (result IN ('accepted', 'refused', 'failed')),
    code       text,
    text       text,
    asked_by   text,
    reason     text,
    outcome    jsonb NOT NULL,
    cause      jsonb NOT NULL,
    PRIMARY KEY (sequence, index)
);
CREATE INDEX commands_id ON commands (command_id);
COMMENT ON TABLE commands IS 'Every command that a controller read, and what became of it';
COMMENT ON COLUMN commands.asked_by IS 'Where the events of the command say it; else the message of COMMANDS that cause names does';
