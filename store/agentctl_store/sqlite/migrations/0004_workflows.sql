-- What tasks of a queue ask of whoever claims them: capabilities, and to be none of those who delegated them. A task's
-- lane is 0 when it asks nothing. Few rows: each distinct set once, never changed (agentctl_store/domain/routing.py).
CREATE TABLE lane (
    id     INTEGER PRIMARY KEY CHECK (id > 0),
    queue  INTEGER NOT NULL REFERENCES queue,
    needs  TEXT NOT NULL,  -- JSON lists of names, sorted
    barred TEXT NOT NULL,
    UNIQUE (queue, needs, barred)
) STRICT;

-- Chains of agents that delegated, each as the one before it and its last agent.
CREATE TABLE chain (
    id     INTEGER PRIMARY KEY CHECK (id > 0),
    before INTEGER REFERENCES chain,
    agent  INTEGER NOT NULL REFERENCES agent
) STRICT;
CREATE UNIQUE INDEX chain_link ON chain (coalesce(before, 0), agent);

ALTER TABLE task ADD COLUMN lane INTEGER NOT NULL DEFAULT 0 CHECK (lane >= 0);
ALTER TABLE task ADD COLUMN chain INTEGER;
ALTER TABLE task ADD COLUMN degraded INTEGER;  -- the queue of the agent whose fallback stands in for it
ALTER TABLE agent ADD COLUMN can TEXT NOT NULL DEFAULT '[]';
ALTER TABLE agent ADD COLUMN fallback TEXT;
ALTER TABLE agent ADD COLUMN max_depth INTEGER CHECK (max_depth > 0);
ALTER TABLE agent ADD COLUMN checked INTEGER NOT NULL DEFAULT 0 CHECK (checked IN (0, 1));

DROP INDEX task_ready;
CREATE INDEX task_ready ON task (queue, lane, available_ms - priority * 60000, id) WHERE state = 'ready';
CREATE INDEX task_lane ON task (lane, state) WHERE lane > 0 AND finished_ms IS NULL;
