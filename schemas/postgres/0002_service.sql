-- What every service needs: a position of its own in each stream it reads, effects that wait to be carried out, timers.
-- A role `ordo_<service>` may change the rows of its service only.

ALTER TABLE projections ADD COLUMN reader text NOT NULL DEFAULT 'history';
ALTER TABLE projections DROP CONSTRAINT projections_pkey;
ALTER TABLE projections ADD PRIMARY KEY (reader, stream);
COMMENT ON COLUMN projections.reader IS 'The service whose rows these are';

CREATE TABLE outbox (
    service    text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    number     bigint GENERATED ALWAYS AS IDENTITY,
    kind       text NOT NULL,
    body       json NOT NULL,
    state      text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'done', 'given_up')),
    tries      integer NOT NULL DEFAULT 0,
    since      timestamptz NOT NULL,
    due_at     timestamptz NOT NULL,
    settled_at timestamptz,
    error      text,
    PRIMARY KEY (service, key)
) WITH (fillfactor = 70);
CREATE INDEX outbox_waiting ON outbox (service, due_at, number) WHERE state = 'waiting';
CREATE INDEX outbox_given_up ON outbox (service) WHERE state = 'given_up';
CREATE INDEX outbox_done ON outbox (service, settled_at) WHERE state = 'done';
COMMENT ON TABLE outbox IS 'Effects that follow from rows: written in their transaction, carried out afterwards, until it worked or was given up';
COMMENT ON COLUMN outbox.key IS 'Stable: the same effect has the same key whenever it is derived, so that it is wanted once';
COMMENT ON COLUMN outbox.since IS 'When it was wanted first; giving up counts from it';
COMMENT ON COLUMN outbox.due_at IS 'Not to be tried before';
COMMENT ON COLUMN outbox.error IS 'Of the last try that failed, in words';

CREATE TABLE timers (
    service text COLLATE "C" NOT NULL,
    key     text COLLATE "C" NOT NULL,
    due_at  timestamptz NOT NULL,
    body    json NOT NULL,
    PRIMARY KEY (service, key)
) WITH (fillfactor = 70);
CREATE INDEX timers_due ON timers (service, due_at);
COMMENT ON TABLE timers IS 'What a service has to do at a time; the row goes in the transaction that does it';

-- Not row level security, which would break dumps: the owner, who restores them, writes for everybody.
CREATE FUNCTION ordo_may_write(service text) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
    RETURN current_user NOT LIKE 'ordo\_%' OR service = replace(substr(current_user, 6), '_', '-');
CREATE FUNCTION ordo_refuse_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% may not change the rows of another service in %', current_user, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER own_rows BEFORE INSERT OR UPDATE ON projections FOR EACH ROW
    WHEN (NOT ordo_may_write(NEW.reader)) EXECUTE FUNCTION ordo_refuse_write();
CREATE TRIGGER own_rows BEFORE INSERT OR UPDATE ON outbox FOR EACH ROW
    WHEN (NOT ordo_may_write(NEW.service)) EXECUTE FUNCTION ordo_refuse_write();
CREATE TRIGGER own_rows BEFORE INSERT OR UPDATE ON timers FOR EACH ROW
    WHEN (NOT ordo_may_write(NEW.service)) EXECUTE FUNCTION ordo_refuse_write();
CREATE TRIGGER own_rows_go BEFORE DELETE ON projections FOR EACH ROW
    WHEN (NOT ordo_may_write(OLD.reader)) EXECUTE FUNCTION ordo_refuse_write();
CREATE TRIGGER own_rows_go BEFORE DELETE ON outbox FOR EACH ROW
    WHEN (NOT ordo_may_write(OLD.service)) EXECUTE FUNCTION ordo_refuse_write();
CREATE TRIGGER own_rows_go BEFORE DELETE ON timers FOR EACH ROW
    WHEN (NOT ordo_may_write(OLD.service)) EXECUTE FUNCTION ordo_refuse_write();
