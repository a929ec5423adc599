-- The monitor: what people are told, when, and what came of the mails.

CREATE TABLE monitor_definitions (
    kind    text NOT NULL CHECK (kind IN ('rule', 'maintenance')),
    name    text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    body    json NOT NULL,
    PRIMARY KEY (kind, name)
);
COMMENT ON TABLE monitor_definitions IS 'Rules and maintenance windows that are deployed now';

CREATE TABLE monitor_orders (
    order_id text COLLATE "C" PRIMARY KEY,
    run_id   text COLLATE "C",
    body     json NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX monitor_orders_run ON monitor_orders (run_id) WHERE run_id IS NOT NULL;
COMMENT ON TABLE monitor_orders IS 'Orders that have not ended, as far as somebody may be told of them';

CREATE TABLE monitor_controller (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    instance    text NOT NULL,
    epoch       bigint NOT NULL,
    handed_over boolean NOT NULL
);
COMMENT ON TABLE monitor_controller IS 'The controller that was activated last, and whether it gave the role away in order';

CREATE TABLE notifications (
    id              text COLLATE "C" PRIMARY KEY,
    at              timestamptz NOT NULL,
    kind            text NOT NULL,
    state           text NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'acknowledged', 'recovered')),
    rules           text[] NOT NULL,
    object          text COLLATE "C" NOT NULL,
    thing           text NOT NULL,
    business_day    date,
    workflow        text COLLATE "C",
    order_id        text COLLATE "C",
    series          text COLLATE "C",
    facts           json NOT NULL,
    silenced_by     text,
    acknowledged_by text,
    acknowledged_at timestamptz,
    comment         text,
    recovered_at    timestamptz
) WITH (fillfactor = 80);
CREATE INDEX notifications_at ON notifications (at, id);
CREATE INDEX notifications_open ON notifications (object, kind) WHERE recovered_at IS NULL;
CREATE INDEX notifications_series ON notifications (series) WHERE recovered_at IS NULL AND series IS NOT NULL;
CREATE INDEX notifications_order ON notifications (order_id) WHERE order_id IS NOT NULL;
COMMENT ON TABLE notifications IS 'What rules told of: one row for each thing that happened';
COMMENT ON COLUMN notifications.id IS 'Made of what happened: the same event has the same id however often it is read';
COMMENT ON COLUMN notifications.object IS 'To what: an order, agent/instance, a role';
COMMENT ON COLUMN notifications.series IS 'The same workflow with the same arguments for the same business day: one that goes well later makes it good';
COMMENT ON COLUMN notifications.thing IS 'What repeats of it have in common: the workflow, the agent, the role';

CREATE TABLE monitor_threads (
    rule         text COLLATE "C" NOT NULL,
    kind         text NOT NULL,
    thing        text NOT NULL,
    business_day date NOT NULL,
    quiet_until  timestamptz,
    first_mail   text,
    last_mail    text,
    changed_at   timestamptz NOT NULL,
    PRIMARY KEY (rule, kind, thing, business_day)
);
COMMENT ON TABLE monitor_threads IS 'What was told of one thing on one business day, so that repeats are folded and answer the first mail';

CREATE TABLE monitor_floods (
    rule  text COLLATE "C" PRIMARY KEY,
    state json NOT NULL
);
COMMENT ON TABLE monitor_floods IS 'How much a rule mailed within the last minute';

CREATE TABLE monitor_gathered (
    rule         text COLLATE "C" NOT NULL,
    notification text COLLATE "C" NOT NULL,
    good         boolean NOT NULL,
    bucket       text COLLATE "C" NOT NULL,
    number       bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (rule, notification, good)
);
CREATE INDEX monitor_gathered_bucket ON monitor_gathered (bucket, number);
COMMENT ON TABLE monitor_gathered IS 'Notifications that wait to be told together: repeats, digests, what a maintenance silences';
COMMENT ON COLUMN monitor_gathered.good IS 'That it recovered is what waits to be told';

CREATE TABLE mails (
    id            text COLLATE "C" PRIMARY KEY,
    rule          text COLLATE "C" NOT NULL,
    kind          text NOT NULL,
    at            timestamptz NOT NULL,
    notifications text[] COLLATE "C" NOT NULL,
    replies_to    text[] NOT NULL DEFAULT '{}',
    part          integer NOT NULL DEFAULT 1,
    parts         integer NOT NULL DEFAULT 1,
    maintenance   text,
    recipients    text[] NOT NULL,
    content       bytea
);
CREATE INDEX mails_notifications ON mails USING gin (notifications);
CREATE INDEX mails_at ON mails (at);
COMMENT ON COLUMN mails.id IS 'Its Message-ID is made of it';
COMMENT ON COLUMN mails.replies_to IS 'The first mail of its thread and the one before it';
COMMENT ON COLUMN mails.content IS 'The message, written when it was due first: later tries send the same bytes';

CREATE TABLE deliveries (
    mail      text COLLATE "C" NOT NULL REFERENCES mails ON DELETE CASCADE,
    recipient text NOT NULL,
    state     text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'accepted', 'refused')),
    tries     integer NOT NULL DEFAULT 0,
    server    text,
    said      text,
    at        timestamptz NOT NULL,
    PRIMARY KEY (mail, recipient)
) WITH (fillfactor = 70);
COMMENT ON TABLE deliveries IS 'What came of each mail for each recipient';
