-- What bounds starts, what may be spent, and who is left alone. A store in which none of these has a row pays for none.

CREATE TABLE bound (
    scope       TEXT NOT NULL CHECK (scope IN ('queue', 'agent', 'provider', 'fleet')),
    name        TEXT NOT NULL,
    starts      INTEGER CHECK (starts BETWEEN 1 AND 1000000),
    period_ms   INTEGER CHECK (period_ms > 0),
    burst       INTEGER CHECK (burst BETWEEN 1 AND 1000000),
    concurrency INTEGER CHECK (concurrency >= 0),
    max_depth   INTEGER CHECK (max_depth >= 0),
    origin      TEXT NOT NULL CHECK (origin IN ('config', 'operator')),
    full_us     INTEGER NOT NULL DEFAULT 0,  -- the rate's theoretical arrival time, in wall microseconds (domain/limits.py)
    PRIMARY KEY (scope, name),
    CHECK ((scope = 'fleet') = (name = '')),
    CHECK ((starts IS NULL) = (period_ms IS NULL)),
    CHECK (burst IS NULL OR starts IS NOT NULL),
    CHECK (max_depth IS NULL OR scope = 'queue')
) STRICT, WITHOUT ROWID;

-- Whose account an agent spends.
CREATE TABLE member (
    agent    TEXT PRIMARY KEY,
    provider TEXT NOT NULL,
    origin   TEXT NOT NULL CHECK (origin IN ('config', 'operator'))
) STRICT, WITHOUT ROWID;

CREATE TABLE budget (
    scope    TEXT NOT NULL CHECK (scope IN ('task', 'agent', 'provider', 'fleet')),
    name     TEXT NOT NULL,
    measure  TEXT NOT NULL CHECK (measure IN ('tokens', 'usd', 'wall_time', 'attempts')),
    per      TEXT NOT NULL CHECK (per IN ('task', 'day', 'total')),
    amount   INTEGER NOT NULL CHECK (amount >= 0),
    origin   TEXT NOT NULL CHECK (origin IN ('config', 'operator')),
    zone     TEXT NOT NULL,
    from_ms  INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    spent    INTEGER NOT NULL DEFAULT 0,  -- by attempts that have ended; what runs is added up where it is asked for
    PRIMARY KEY (scope, name, measure, per),
    CHECK ((scope IN ('task', 'fleet')) = (name = '')),
    CHECK (scope <> 'task' OR per = 'task')
) STRICT, WITHOUT ROWID;

CREATE TABLE breaker (
    scope      TEXT NOT NULL CHECK (scope IN ('agent', 'provider')),
    name       TEXT NOT NULL,
    window_ms  INTEGER NOT NULL CHECK (window_ms > 0),
    min_calls  INTEGER NOT NULL CHECK (min_calls > 0),
    share      INTEGER NOT NULL CHECK (share BETWEEN 1 AND 100),
    open_ms    INTEGER NOT NULL CHECK (open_ms > 0),
    cap_ms     INTEGER NOT NULL CHECK (cap_ms >= open_ms),
    stagger_ms INTEGER NOT NULL CHECK (stagger_ms >= 0),
    origin     TEXT NOT NULL CHECK (origin IN ('config', 'operator')),
    state      TEXT NOT NULL CHECK (state IN ('closed', 'open', 'half_open')),
    reason     TEXT NOT NULL,
    opened     INTEGER NOT NULL CHECK (opened >= 0),
    since_ms   INTEGER NOT NULL,
    until_ms   INTEGER NOT NULL,
    probe      INTEGER,
    probe_n    INTEGER,
    calls      TEXT NOT NULL,
    next_ms    INTEGER NOT NULL,
    spaced     INTEGER NOT NULL CHECK (spaced >= 0),
    PRIMARY KEY (scope, name),
    CHECK ((state = 'half_open') = (probe IS NOT NULL)),
    CHECK ((probe IS NULL) = (probe_n IS NULL))
) STRICT, WITHOUT ROWID;

-- What an attempt had got to when a budget ended it: a body, told by the event of its end.
ALTER TABLE attempt ADD COLUMN partial INTEGER;
