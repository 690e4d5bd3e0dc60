CREATE TABLE schedule (
    name        TEXT PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
    queue       INTEGER NOT NULL REFERENCES queue,
    payload     TEXT NOT NULL,
    cron        TEXT,
    zone        TEXT,
    every_ms    INTEGER CHECK (every_ms >= 1000),
    at_ms       INTEGER,
    overlap     TEXT NOT NULL CHECK (overlap IN ('skip', 'queue', 'replace')),
    jitter_ms   INTEGER NOT NULL CHECK (jitter_ms >= 0),
    catch_up    INTEGER NOT NULL CHECK (catch_up IN (0, 1)),
    priority    INTEGER NOT NULL CHECK (priority BETWEEN -100 AND 100),
    timeout_ms  INTEGER CHECK (timeout_ms > 0),
    declared    INTEGER NOT NULL CHECK (declared IN (0, 1)),
    since_ms    INTEGER NOT NULL,
    paused_ms   INTEGER,
    paused_by   TEXT,
    reason      TEXT,
    planned_ms  INTEGER,           -- the moment of the next run; with the name, its identity
    due_ms      INTEGER,           -- the same, put off by jitter
    reckoned_ms INTEGER NOT NULL,  -- when that was worked out: a clock that shows less has been set back since
    task        INTEGER,           -- of the newest run
    last_ms     INTEGER,
    fired       INTEGER NOT NULL DEFAULT 0,
    skipped     INTEGER NOT NULL DEFAULT 0,
    CHECK ((cron IS NOT NULL) + (every_ms IS NOT NULL) + (at_ms IS NOT NULL) = 1),
    CHECK ((cron IS NULL) = (zone IS NULL)),
    CHECK ((planned_ms IS NULL) = (due_ms IS NULL)),
    CHECK (due_ms >= planned_ms),
    CHECK (paused_ms IS NULL OR due_ms IS NULL)
) STRICT;
CREATE INDEX schedule_due ON schedule (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX schedule_reckoned ON schedule (reckoned_ms) WHERE due_ms IS NOT NULL;
