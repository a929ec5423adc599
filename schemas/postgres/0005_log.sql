-- What the log notification knows: the rules that are deployed, and the notices whose repeats are still counted.

CREATE TABLE log_rules (
    name        text COLLATE "C" PRIMARY KEY,
    version     integer NOT NULL,
    hash        text NOT NULL,
    deployed_at timestamptz NOT NULL
);
COMMENT ON TABLE log_rules IS 'Deployed log rules; what they say lies in the definition store under their hash';

CREATE TABLE log_folds (
    key    text COLLATE "C" PRIMARY KEY,
    notice json NOT NULL,
    told   bigint NOT NULL,
    until  timestamptz NOT NULL
) WITH (fillfactor = 70);
COMMENT ON TABLE log_folds IS 'Notices whose repeats are still counted, so that a restart neither tells one twice nor forgets a count';
COMMENT ON COLUMN log_folds.key IS 'Of rule, host, application and text without numbers';
COMMENT ON COLUMN log_folds.told IS 'The count that was told last';
