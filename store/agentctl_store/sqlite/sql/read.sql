-- What screens and reading verbs see. One statement each, all rows fetched at once, so that nothing pins the WAL.

-- name: title
-- A payload in short: its title, name or path, else how it begins.
CASE WHEN octet_length(p.text) > 65536 THEN substr(p.text, 1, 80)
     WHEN p.text LIKE '{%' THEN
        coalesce(p.text ->> '$.title', p.text ->> '$.name', p.text ->> '$.path', substr(p.text, 1, 80))
     WHEN p.text LIKE '"%' THEN p.text ->> '$'
     ELSE substr(p.text, 1, 80) END

-- name: session
s.id, a.name, s.slot, s.pid, s.started_ms, s.ended_ms,
    CASE WHEN s.ended_ms IS NOT NULL THEN coalesce(s.outcome, 'exited') END, s.exit_code, s.signal, s.detail, s.task

-- name: instances
-- An idle one with a session works (sqlite/fleet.py, save_instances).
SELECT a.name, i.slot, a.mode, a.desired,
    CASE WHEN i.phase = 'idle' AND i.session IS NOT NULL THEN 'busy' ELSE i.phase END, i.health, i.reason, i.since_ms, i.session,
    CASE WHEN s.ended_ms IS NULL THEN s.pid END, CASE WHEN s.ended_ms IS NULL THEN s.started_ms END,
    x.task, x.n, q.name, @title, x.claimed_ms, x.progress, i.restarts, i.next_start_ms, i.latched, x.cost_microusd,
    i.agent
FROM instance i JOIN agent a ON a.id = i.agent
LEFT JOIN session s ON s.id = i.session
LEFT JOIN attempt x ON x.session = i.session AND x.ended_ms IS NULL
LEFT JOIN task t ON t.id = x.task LEFT JOIN queue q ON q.id = t.queue LEFT JOIN body p ON p.id = t.payload
ORDER BY a.name, i.slot, x.task, x.n

-- name: healths
SELECT health, count(*) FROM instance GROUP BY health

-- name: sessions
SELECT @session
FROM session s JOIN agent a ON a.id = s.agent
WHERE s.agent = (SELECT id FROM agent WHERE name = ?) AND s.slot = ? AND s.task IS NULL ORDER BY s.id DESC LIMIT ?

-- name: task_sessions
-- These have no index: they are looked for among the newest sessions of all, as many as could still have a folder.
SELECT @session
FROM (SELECT * FROM session ORDER BY id DESC LIMIT @look_back) s JOIN agent a ON a.id = s.agent
WHERE a.name = ? AND s.slot = ? AND s.task IS NOT NULL ORDER BY s.id DESC LIMIT ?

-- name: sessions_now
-- Those opened since a moment, as many as could still have a folder, those that run, and those that are known.
SELECT @session
FROM session s JOIN agent a ON a.id = s.agent
WHERE s.id IN (
    SELECT id FROM (SELECT id FROM session WHERE id >= ?1 ORDER BY id DESC LIMIT @look_back)
    UNION ALL SELECT id FROM session WHERE ended_ms IS NULL
    UNION ALL SELECT value FROM json_each(?2))
ORDER BY s.id

-- name: queues
-- The first to be claimed is the first of one of its lanes: the index has them in order by lane.
SELECT q.id, q.name, q.paused_ms IS NOT NULL,
    (SELECT f.available_ms FROM (
        SELECT (SELECT t.id FROM task t WHERE t.queue = q.id AND t.lane = l.lane AND t.state = 'ready'
                ORDER BY t.available_ms - t.priority * 60000, t.id LIMIT 1) AS id
        FROM (SELECT 0 AS lane UNION ALL SELECT id FROM lane WHERE queue = q.id) l) o JOIN task f ON f.id = o.id
     ORDER BY f.available_ms - f.priority * 60000, f.id LIMIT 1)
FROM queue q ORDER BY q.name

-- name: declared
SELECT name, queues FROM agent WHERE declared = 1 ORDER BY name

-- name: lanes
SELECT l.id, q.name, l.needs, l.barred FROM lane l JOIN queue q ON q.id = l.queue

-- name: waiting_in
SELECT count(*) FROM task
WHERE lane = ? AND lane > 0 AND finished_ms IS NULL AND state IN ('ready', 'scheduled', 'blocked')

-- name: paused
SELECT name FROM queue WHERE paused_ms IS NOT NULL ORDER BY name

-- name: counts
-- Each state is counted in the smallest index that holds it: a million finished tasks are one scan of one index.
SELECT queue, 'ready', count(*) FROM task WHERE state = 'ready' GROUP BY queue
UNION ALL SELECT queue, 'scheduled', count(*) FROM task WHERE state = 'scheduled' GROUP BY queue
UNION ALL SELECT queue, 'blocked', count(*) FROM task WHERE state = 'blocked' GROUP BY queue
UNION ALL SELECT queue, 'waiting', count(*) FROM task WHERE state = 'waiting' GROUP BY queue
UNION ALL SELECT queue, 'active', count(*) FROM task WHERE state = 'active' GROUP BY queue
UNION ALL SELECT queue, 'dead', count(*) FROM task WHERE state = 'dead' GROUP BY queue
UNION ALL SELECT queue, state, count(*) FROM task WHERE state IN ('done', 'cancelled') GROUP BY state, queue

-- name: last_event
SELECT max(seq) FROM event

-- name: moves
-- What the events after one did to the counts: kind, bucket of time, queue, where the task came from or went,
-- and who finished it.
SELECT e.kind, e.at_ms / @bucket, t.queue,
    CASE e.kind
        WHEN 1 THEN CASE WHEN e.data ->> '$.open' THEN 'blocked' WHEN e.data ->> '$.run_at' THEN 'scheduled'
                    ELSE 'ready' END
        WHEN 14 THEN CASE WHEN e.data ->> '$.queue' THEN NULL WHEN e.data ->> '$.later' THEN 'scheduled' ELSE 'ready' END
        WHEN 12 THEN coalesce(e.data ->> '$.from', 'active')
        WHEN 13 THEN coalesce(e.data ->> '$.from', 'active') END,
    x.agent, x.slot
FROM event e LEFT JOIN task t ON t.id = e.task
LEFT JOIN attempt x ON e.kind = 6 AND x.task = e.task AND x.n = e.attempt
WHERE e.seq > ? AND e.kind < 30

-- name: finishes
SELECT e.at_ms / @bucket, x.agent, x.slot FROM event e
LEFT JOIN attempt x ON x.task = e.task AND x.n = e.attempt WHERE e.seq > ? AND e.kind = 6

-- name: done_by_slot
-- Attempts lie in the order of their tasks' ids, which begin with the time: a bounded look back needs no index.
SELECT agent, slot, count(*) FROM
    (SELECT agent, slot, outcome FROM attempt WHERE task >= ? ORDER BY task DESC LIMIT ?)
WHERE outcome = 'done' AND slot IS NOT NULL GROUP BY agent, slot

-- name: cost_since
SELECT sum(cost_microusd) FROM attempt WHERE cost_microusd > 0 AND ended_ms >= ?

-- name: event_time
SELECT seq, at_ms FROM event WHERE seq >= ? ORDER BY seq LIMIT 1

-- name: newest_of_kind
SELECT max(seq) FROM event WHERE kind = ? AND kind >= 7

-- name: event_at
SELECT at_ms FROM event WHERE seq = ?

-- name: tasks_by_id
SELECT t.id, q.name, t.state, @title, t.priority, t.attempts, t.available_ms, t.finished_ms, a.name,
    lower(hex(t.correlation)), t.reason, t.error_class, t.error, t.lane, t.degraded
FROM task t JOIN queue q ON q.id = t.queue JOIN body p ON p.id = t.payload
LEFT JOIN attempt x ON x.task = t.id AND x.n = t.attempts LEFT JOIN agent a ON a.id = x.agent
WHERE t.id IN (SELECT value FROM json_each(?))

-- name: created_by
SELECT creator, id FROM task WHERE creator IN (SELECT value FROM json_each(?)) ORDER BY id LIMIT ?

-- name: waiting_for
SELECT e.parent, e.child FROM json_each(?) j JOIN edge e ON e.parent = j.value ORDER BY e.child LIMIT ?

-- name: branches
-- How many tasks each of these added, and how many wait for it.
SELECT j.value, (SELECT count(*) FROM task WHERE creator = j.value), (SELECT count(*) FROM edge WHERE parent = j.value)
FROM json_each(?) j

-- name: nodes
SELECT t.id, t.creator, x.claimed_ms, x.ended_ms FROM json_each(?) j JOIN task t ON t.id = j.value
LEFT JOIN attempt x ON x.task = t.id AND x.n = t.attempts

-- name: waits_for
SELECT e.child, e.parent FROM json_each(?) j JOIN edge e ON e.child = j.value ORDER BY e.child, e.parent LIMIT ?

-- name: list
SELECT @columns FROM task t JOIN queue q ON q.id = t.queue LEFT JOIN body p ON p.id = t.payload
LEFT JOIN attempt x ON x.task = t.id AND x.n = t.attempts LEFT JOIN agent a ON a.id = x.agent
WHERE @where

-- name: dead_groups
SELECT t.reason, count(*), min(t.finished_ms), max(t.finished_ms)
FROM task t JOIN queue q ON q.id = t.queue LEFT JOIN body p ON p.id = t.payload
LEFT JOIN attempt x ON x.task = t.id AND x.n = t.attempts LEFT JOIN agent a ON a.id = x.agent
WHERE @where GROUP BY t.reason ORDER BY count(*) DESC, t.reason

-- name: dead
SELECT p.text, t.error, lower(hex(t.correlation)) FROM task t JOIN body p ON p.id = t.payload
WHERE t.id = ? AND t.state = 'dead'

-- name: attempts
SELECT x.task, x.n, a.name, x.slot, x.session, x.claimed_ms, x.ended_ms, x.outcome, x.error_class, x.error,
    x.exit_code, x.progress, x.cost_microusd
FROM attempt x JOIN agent a ON a.id = x.agent WHERE x.task = ? ORDER BY x.n DESC LIMIT 1000

-- name: events
SELECT e.seq, e.at_ms, e.kind, e.task, e.attempt, a.name, e.data, e.session
FROM event e LEFT JOIN actor a ON a.id = e.actor WHERE e.seq > ? ORDER BY e.seq LIMIT ?
