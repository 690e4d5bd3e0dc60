-- A message: one row for its whole life. When it was sent is part of its id (id >> 20), as with tasks.
CREATE TABLE message (
    id             INTEGER PRIMARY KEY,
    source         TEXT NOT NULL CHECK (length(source) BETWEEN 1 AND 64),
    target         TEXT NOT NULL CHECK (length(target) BETWEEN 1 AND 64),
    topic          TEXT,
    post           INTEGER,           -- of a publication's copies but the first: the first one
    type           TEXT NOT NULL CHECK (type IN (
        'DIRECTIVE', 'QUERY', 'RESULT', 'ACK', 'STATUS', 'HANDSHAKE', 'PING', 'PONG', 'ERROR')),
    state          TEXT NOT NULL CHECK (
        state = 'stored' OR state = 'delivered' OR state = 'acked' OR state = 'expired' OR state = 'dead'
        OR state = 'discarded'),
    payload        INTEGER NOT NULL,  -- a body
    correlation    BLOB NOT NULL CHECK (length(correlation) = 16),
    conversation   INTEGER,           -- the message that began it, if that is another one
    reply_to       INTEGER,
    priority       INTEGER NOT NULL DEFAULT 0 CHECK (priority BETWEEN -100 AND 100),
    expires_ms     INTEGER,
    key            TEXT,              -- its source's own
    max_deliveries INTEGER NOT NULL DEFAULT 5 CHECK (max_deliveries > 0),
    deliveries     INTEGER NOT NULL DEFAULT 0 CHECK (deliveries >= 0),
    burnt          INTEGER NOT NULL DEFAULT 0 CHECK (burnt BETWEEN 0 AND deliveries),
    reader         TEXT,
    delivered_ms   INTEGER,
    due_boot_ms    INTEGER,           -- delivered: the ack is awaited until then; stored: delivered again then
    finished_ms    INTEGER,
    reason         TEXT,
    error          TEXT,
    signature      BLOB NOT NULL,
    CHECK ((state IN ('stored', 'delivered')) = (finished_ms IS NULL)),
    CHECK (state <> 'delivered' OR (due_boot_ms IS NOT NULL AND deliveries > 0)),
    CHECK (finished_ms IS NULL OR due_boot_ms IS NULL),
    CHECK ((state = 'dead' OR state = 'expired') <= (reason IS NOT NULL))
) STRICT;

-- The order of an inbox: priority minus age, as tasks are claimed.
CREATE INDEX message_inbox ON message (target, (id >> 20) - priority * 60000, id)
    WHERE state = 'stored' AND due_boot_ms IS NULL;
CREATE INDEX message_again ON message (target, due_boot_ms) WHERE state = 'stored' AND due_boot_ms IS NOT NULL;
CREATE INDEX message_awaited ON message (due_boot_ms) WHERE state = 'delivered';
CREATE INDEX message_expiry ON message (expires_ms) WHERE state = 'stored' AND expires_ms IS NOT NULL;
CREATE INDEX message_dead ON message (finished_ms) WHERE state = 'dead' OR state = 'expired';
CREATE INDEX message_conversation ON message (conversation, id) WHERE conversation IS NOT NULL;
CREATE INDEX message_post ON message (post) WHERE post IS NOT NULL;
CREATE UNIQUE INDEX message_key ON message (source, key) WHERE key IS NOT NULL;

CREATE TABLE subscription (
    topic    TEXT NOT NULL CHECK (length(topic) BETWEEN 1 AND 64),
    agent    TEXT NOT NULL CHECK (length(agent) BETWEEN 1 AND 64),
    since_ms INTEGER NOT NULL,
    PRIMARY KEY (topic, agent)
) STRICT, WITHOUT ROWID;

CREATE TABLE message_schema (
    scope    TEXT PRIMARY KEY,  -- a type, or topic:NAME
    schema   TEXT NOT NULL,
    since_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How conversations are damped, when agentctl.toml says so otherwise than the defaults do.
CREATE TABLE damping (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    messages  INTEGER NOT NULL CHECK (messages >= 0),
    window_ms INTEGER NOT NULL CHECK (window_ms > 0)
) STRICT;
