-- Times are wall milliseconds unless a name says boot. Ids of tasks and sessions are made by the store
-- (agentctl_store/ids.py); when a task was created is part of its id (id >> 20).

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value ANY
) STRICT, WITHOUT ROWID;

CREATE TABLE queue (
    id        INTEGER PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 64),
    paused_ms INTEGER,
    paused_by TEXT,
    reason    TEXT
) STRICT;

CREATE TABLE agent (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 64),
    mode        TEXT CHECK (mode IN ('task', 'worker', 'service')),
    queues      TEXT NOT NULL DEFAULT '[]',
    instances   INTEGER NOT NULL DEFAULT 0 CHECK (instances BETWEEN 0 AND 9999),
    scale       INTEGER CHECK (scale BETWEEN 0 AND 9999),
    retry       TEXT,
    desired     TEXT NOT NULL DEFAULT 'running' CHECK (desired IN ('running', 'paused', 'draining', 'stopped')),
    restart_seq INTEGER NOT NULL DEFAULT 0,
    reset_seq   INTEGER NOT NULL DEFAULT 0,
    declared    INTEGER NOT NULL DEFAULT 0 CHECK (declared IN (0, 1)),
    since_ms    INTEGER NOT NULL
) STRICT;

-- Who did something: `reviewer/2`, `cli:anna`, `supervisor`. Events name them by number.
CREATE TABLE actor (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- Payloads and results, each stored once; tasks and events refer to them. When its task is pruned the text goes
-- and its digest stays for as long as an event's hash needs it.
CREATE TABLE body (
    id     INTEGER PRIMARY KEY,
    text   TEXT,
    digest BLOB,
    CHECK ((text IS NULL) = (digest IS NOT NULL))
) STRICT;

CREATE TABLE task (
    id                INTEGER PRIMARY KEY,
    queue             INTEGER NOT NULL REFERENCES queue,
    state             TEXT NOT NULL CHECK (
        state = 'active' OR state = 'done' OR state = 'ready' OR state = 'scheduled' OR state = 'blocked'
        OR state = 'waiting' OR state = 'dead' OR state = 'cancelled'),
    payload           INTEGER NOT NULL,  -- a body, like result; no foreign key: to delete a body would scan all tasks
    correlation       BLOB NOT NULL CHECK (length(correlation) = 16),
    priority          INTEGER NOT NULL DEFAULT 0 CHECK (priority BETWEEN -100 AND 100),
    available_ms      INTEGER NOT NULL,
    attempts          INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    burnt             INTEGER NOT NULL DEFAULT 0 CHECK (burnt BETWEEN 0 AND attempts),
    throttled         INTEGER NOT NULL DEFAULT 0 CHECK (throttled BETWEEN 0 AND attempts),
    key               TEXT,
    on_parent_failure TEXT CHECK (on_parent_failure IN ('run', 'cancel')),  -- NULL: fail
    open_parents      INTEGER NOT NULL DEFAULT 0 CHECK (open_parents >= 0),
    deadline_ms       INTEGER,
    timeout_ms        INTEGER CHECK (timeout_ms > 0),
    retry             TEXT,
    creator           INTEGER,
    reason            TEXT,
    error_class       TEXT,
    error             TEXT,
    result            INTEGER,
    finished_ms       INTEGER,
    cancel_asked      INTEGER CHECK (cancel_asked = 1),
    lease_until_boot_ms INTEGER,
    CHECK ((state = 'blocked') = (open_parents > 0)),
    CHECK ((state = 'active') = (lease_until_boot_ms IS NOT NULL)),
    CHECK ((state = 'done' OR state = 'dead' OR state = 'cancelled') = (finished_ms IS NOT NULL)),
    CHECK (result IS NULL OR state = 'done')
) STRICT;

-- The order of claims: priority minus age (agentctl_store/domain/task.py, rank). 60000 is AGEING_MS.
CREATE INDEX task_ready ON task (queue, available_ms - priority * 60000, id) WHERE state = 'ready';
CREATE INDEX task_scheduled ON task (queue, available_ms) WHERE state = 'scheduled';
CREATE INDEX task_lease ON task (lease_until_boot_ms) WHERE state = 'active';
CREATE INDEX task_blocked ON task (queue) WHERE state = 'blocked';
CREATE INDEX task_waiting ON task (queue) WHERE state = 'waiting';
CREATE INDEX task_dead ON task (finished_ms) WHERE state = 'dead';
-- In this order a million finished tasks are counted by one scan of this index, without sorting.
CREATE INDEX task_finished ON task (state, queue, finished_ms) WHERE state IN ('done', 'cancelled');
CREATE INDEX task_deadline ON task (deadline_ms) WHERE deadline_ms IS NOT NULL AND finished_ms IS NULL;
CREATE UNIQUE INDEX task_key ON task (key) WHERE key IS NOT NULL;
-- Only those that did not begin their trace: the one that did has its id in the first half (agentctl_store/ids.py).
CREATE INDEX task_correlation ON task (correlation) WHERE hex(substr(correlation, 1, 8)) <> printf('%016X', id);
CREATE INDEX task_creator ON task (creator) WHERE creator IS NOT NULL;

CREATE TABLE edge (
    parent INTEGER NOT NULL REFERENCES task ON DELETE CASCADE,
    child  INTEGER NOT NULL REFERENCES task ON DELETE CASCADE,
    ended  INTEGER CHECK (ended = 1),  -- the child no longer waits for this parent, which may run again
    PRIMARY KEY (parent, child),
    CHECK (parent <> child)
) STRICT, WITHOUT ROWID;
CREATE INDEX edge_child ON edge (child, parent);

-- One row per claim; (task, n) is the attempt id and the fence.
CREATE TABLE attempt (
    task          INTEGER NOT NULL REFERENCES task ON DELETE CASCADE,
    n             INTEGER NOT NULL CHECK (n > 0),
    agent         INTEGER NOT NULL REFERENCES agent,
    slot          INTEGER,
    session       INTEGER,
    claimed_ms    INTEGER NOT NULL,
    ended_ms      INTEGER,
    outcome       TEXT CHECK (
        outcome = 'done' OR outcome = 'failed' OR outcome = 'released' OR outcome = 'cancelled'),
    error_class   TEXT,
    error         TEXT,
    exit_code     INTEGER,
    input_tokens  INTEGER,
    output_tokens INTEGER,
    cost_microusd INTEGER,
    progress      TEXT,
    PRIMARY KEY (task, n),
    CHECK ((ended_ms IS NULL) = (outcome IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX attempt_open ON attempt (session, task, n) WHERE ended_ms IS NULL AND session IS NOT NULL;
CREATE INDEX attempt_cost ON attempt (ended_ms, cost_microusd) WHERE cost_microusd > 0;

CREATE TABLE instance (
    agent         INTEGER NOT NULL REFERENCES agent,
    slot          INTEGER NOT NULL CHECK (slot BETWEEN 1 AND 9999),
    phase         TEXT NOT NULL CHECK (
        phase IN ('stopped', 'starting', 'idle', 'busy', 'draining', 'stopping', 'backoff', 'failed')),
    health        TEXT NOT NULL CHECK (
        health IN ('healthy', 'degraded', 'unhealthy', 'starting', 'stopped', 'paused', 'draining')),
    reason        TEXT NOT NULL DEFAULT '',
    session       INTEGER,  -- idle with a session: busy, for as long as one task lasts
    restarts      INTEGER NOT NULL DEFAULT 0,
    latched       INTEGER NOT NULL DEFAULT 0 CHECK (latched IN (0, 1)),
    next_start_ms INTEGER,
    memo          TEXT NOT NULL DEFAULT '',
    since_ms      INTEGER NOT NULL,
    PRIMARY KEY (agent, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
    id         INTEGER PRIMARY KEY,
    agent      INTEGER NOT NULL REFERENCES agent,
    slot       INTEGER NOT NULL,
    nonce      TEXT,               -- of a task's session it follows from what the history has (agentctl_store/ids.py)
    task       INTEGER,
    attempt    INTEGER,
    pid        INTEGER,
    started_ms INTEGER,
    ended_ms   INTEGER,
    outcome    TEXT CHECK (outcome IN ('killed', 'stopped', 'lost', 'never_started')),  -- NULL, once ended: exited
    exit_code  INTEGER,
    signal     INTEGER,
    detail     TEXT,
    CHECK (ended_ms IS NOT NULL OR coalesce(outcome, exit_code, signal, detail) IS NULL),
    CHECK ((task IS NULL) = (attempt IS NULL)),
    CHECK ((task IS NULL) = (nonce IS NOT NULL))
) STRICT;
CREATE INDEX session_open ON session (agent, slot) WHERE ended_ms IS NULL;
-- Sessions of tasks are as many as attempts and only the newest have a folder: a bounded look back finds those.
CREATE INDEX session_instance ON session (agent, slot, id) WHERE task IS NULL;

-- The history: append-only and hash-chained (agentctl_store/sqlite/transaction.py, link). Numbers have columns of
-- their own: in `data`, as JSON, they take three times the room, and most of a store is history.
CREATE TABLE event (
    seq         INTEGER PRIMARY KEY,
    at_ms       INTEGER NOT NULL,
    kind        INTEGER NOT NULL,
    task        INTEGER,
    attempt     INTEGER,           -- of an added task: its queue
    actor       INTEGER REFERENCES actor,
    session     INTEGER,           -- the one that claimed, or that a claim opened and the attempt's end ended
    body        INTEGER,           -- the payload or result this event brought
    data        TEXT,
    correlation BLOB CHECK (length(correlation) IN (8, 16)),  -- 8: the half after the id of its own task
    hash        BLOB NOT NULL CHECK (length(hash) = 16)
) STRICT;
CREATE INDEX event_task ON event (task) WHERE task IS NOT NULL;
-- Everything but adding, promoting, claiming and completing, which are most of the history.
CREATE INDEX event_rare ON event (kind) WHERE kind >= 7;
CREATE TRIGGER event_is_append_only BEFORE UPDATE ON event BEGIN
    SELECT raise(ABORT, 'the history is append-only');
END;

-- What each client of the broker was answered last: one whose connection broke asks, instead of saying it again.
CREATE TABLE receipt (
    client   INTEGER PRIMARY KEY,
    request  INTEGER NOT NULL,
    awake_ms INTEGER NOT NULL,
    answer   TEXT NOT NULL
) STRICT;
