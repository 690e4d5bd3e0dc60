-- name: all
SELECT s.name, q.name, s.payload, s.cron, s.zone, s.every_ms, s.at_ms, s.overlap, s.jitter_ms, s.catch_up, s.priority,
    s.timeout_ms, s.declared, s.since_ms, s.paused_ms, s.paused_by, s.reason, s.planned_ms, s.due_ms, s.task, t.state,
    s.last_ms, s.fired, s.skipped
FROM schedule s JOIN queue q ON q.id = s.queue LEFT JOIN task t ON t.id = s.task
WHERE @which ORDER BY s.name

-- name: save
INSERT INTO schedule (name, queue, payload, cron, zone, every_ms, at_ms, overlap, jitter_ms, catch_up, priority,
    timeout_ms, declared, since_ms, planned_ms, due_ms, reckoned_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET queue = excluded.queue, payload = excluded.payload, cron = excluded.cron,
    zone = excluded.zone, every_ms = excluded.every_ms, at_ms = excluded.at_ms, overlap = excluded.overlap,
    jitter_ms = excluded.jitter_ms, catch_up = excluded.catch_up, priority = excluded.priority,
    timeout_ms = excluded.timeout_ms, declared = excluded.declared, planned_ms = excluded.planned_ms,
    due_ms = excluded.due_ms, reckoned_ms = excluded.reckoned_ms

-- name: remove
DELETE FROM schedule WHERE name = ?

-- name: pause
UPDATE schedule SET paused_ms = ?, paused_by = ?, reason = ?, planned_ms = NULL, due_ms = NULL WHERE name = ?

-- name: resume
UPDATE schedule SET paused_ms = NULL, paused_by = NULL, reason = NULL, planned_ms = ?, due_ms = ?, reckoned_ms = ?
WHERE name = ?

-- name: fired
UPDATE schedule SET task = ?, last_ms = ?, fired = fired + 1, planned_ms = ?, due_ms = ?, reckoned_ms = ?
WHERE name = ?

-- name: ran
-- By hand: what is planned stays.
UPDATE schedule SET task = ?, last_ms = ?, fired = fired + 1 WHERE name = ?

-- name: skipped
UPDATE schedule SET skipped = skipped + 1, planned_ms = ?, due_ms = ?, reckoned_ms = ? WHERE name = ?

-- name: moved
UPDATE schedule SET planned_ms = ?, due_ms = ?, reckoned_ms = ? WHERE name = ?

-- name: due
-- Those whose time has come, the earliest first.
SELECT name FROM schedule WHERE due_ms <= ? AND due_ms IS NOT NULL ORDER BY due_ms, name LIMIT ?

-- name: backlog
-- How many of the newest runs of a schedule, by the keys from one to another, have not ended.
SELECT count(*) FROM (SELECT finished_ms FROM task WHERE key >= ? AND key < ? ORDER BY key DESC LIMIT ?)
WHERE finished_ms IS NULL

-- name: set_back
SELECT name FROM schedule WHERE reckoned_ms > ? AND due_ms IS NOT NULL ORDER BY reckoned_ms LIMIT ?

-- name: waits
SELECT parent FROM edge WHERE child = ? AND ended IS NULL ORDER BY parent
