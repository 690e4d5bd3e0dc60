-- name: finished
-- Newest first: a child finishes after its parents, and a parent goes only when its children are gone.
SELECT id, finished_ms FROM task
WHERE state = @state AND state IN ('done', 'cancelled') AND queue = ? AND (finished_ms, id) < (?, ?)
ORDER BY finished_ms DESC, id DESC LIMIT ?

-- name: prunable
SELECT 1 FROM task t WHERE t.id = ? AND t.state IN ('done', 'cancelled') AND t.finished_ms < ?
    AND NOT EXISTS (SELECT 1 FROM edge e WHERE e.parent = t.id)

-- name: task_sessions
SELECT s.id, s.ended_ms FROM session s
WHERE s.task = ?1 AND s.id IN (SELECT session FROM attempt WHERE task = ?1 AND session IS NOT NULL)

-- name: task_bodies
SELECT b.id, b.text FROM body b
WHERE b.text IS NOT NULL AND b.id IN
    (SELECT body FROM event WHERE task = ?1 AND body IS NOT NULL AND kind < 30
     UNION SELECT payload FROM task WHERE id = ?1 UNION SELECT result FROM task WHERE id = ?1)

-- name: empty_body
UPDATE body SET text = NULL, digest = ? WHERE id = ?

-- name: old_sessions
SELECT id FROM session WHERE id > ? AND task IS NULL AND ended_ms < ? ORDER BY id LIMIT ?

-- name: taskless_sessions
SELECT id FROM session WHERE task IS NULL

-- name: session_lines
SELECT e.seq, e.at_ms, e.kind, e.task, e.attempt, a.name, e.session, e.body, e.data, e.correlation
FROM event e LEFT JOIN actor a ON a.id = e.actor
WHERE e.task = ? AND e.session IS NOT NULL AND e.seq > ? AND e.seq <= ? ORDER BY e.seq

-- name: carried_sessions
SELECT data FROM event WHERE task = ? AND kind = 16 AND data ->> '$.at' = ? AND data IS NOT NULL

-- name: oldest_events
SELECT seq, hash, task, body FROM event WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?

-- name: drop_body
-- A body goes with the event that brought it, unless its task, an attempt of that or its message still needs it, or an
-- event that stays: one that carried it over the cut, though it was edited since.
DELETE FROM body WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM task WHERE id = ?2 AND (payload = ?1 OR result = ?1))
    AND NOT EXISTS (SELECT 1 FROM attempt WHERE task = ?2 AND partial = ?1)
    AND NOT EXISTS (SELECT 1 FROM message WHERE id = ?2 AND payload = ?1)
    AND NOT EXISTS (SELECT 1 FROM event WHERE task = ?2 AND body = ?1 AND seq > ?3)

-- name: ended_messages
SELECT id FROM message WHERE id > ? AND id < ? AND state IN ('acked', 'expired', 'discarded') AND finished_ms < ?
ORDER BY id LIMIT ?

-- name: message_bodies
SELECT b.id, b.text FROM body b
WHERE b.text IS NOT NULL AND b.id IN
    (SELECT body FROM event WHERE task = ?1 AND body IS NOT NULL AND kind BETWEEN 100 AND 109
     UNION SELECT payload FROM message WHERE id = ?1)

-- name: drop_message
DELETE FROM message WHERE id = ? AND state IN ('acked', 'expired', 'discarded')

-- name: drop_events
DELETE FROM event WHERE seq > ? AND seq <= ?

-- name: set_meta
INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value

-- name: event_time
SELECT at_ms FROM event WHERE seq = ?

-- name: lanes_used
SELECT DISTINCT lane FROM task WHERE lane > 0

-- name: lanes_asked
-- By tasks that were added, fell back or were requeued since an event.
SELECT DISTINCT data ->> '$.lane' FROM event WHERE seq > ? AND kind IN (1, 14, 21) AND data ->> '$.lane' > 0
