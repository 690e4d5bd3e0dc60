-- What detectors of findings are fed (agentctl_store/findings/port.py). Each statement has a limit of its own, or reads
-- no more events than one page of the window.

-- name: event_at
SELECT at_ms FROM event WHERE seq > ? ORDER BY seq LIMIT 1

-- name: starts_by
-- A page of the window: who started what, how often again, how often lately.
SELECT e.actor, t.queue, count(*), sum(e.attempt > 1), sum(e.at_ms >= ?)
FROM event e LEFT JOIN task t ON t.id = e.task
WHERE e.seq > ? AND e.seq <= ? AND e.kind = 5 AND e.attempt > 0 AND e.actor IS NOT NULL GROUP BY e.actor, t.queue

-- name: adds_by
SELECT actor, count(*), min(seq), max(seq) FROM event
WHERE seq > ? AND seq <= ? AND kind = 1 AND task > 0 AND actor IS NOT NULL GROUP BY actor

-- name: starts
SELECT count(*) FROM event WHERE seq >= ? AND seq <= ? AND kind = 5 AND attempt > 0

-- name: actors
SELECT id, name FROM actor WHERE id IN (SELECT value FROM json_each(?))

-- name: agents
SELECT a.name, a.declared, a.desired, coalesce(a.scale, a.instances), a.queues,
    (SELECT count(*) FROM instance i WHERE i.agent = a.id), (SELECT sum(i.latched) FROM instance i WHERE i.agent = a.id)
FROM agent a ORDER BY a.id LIMIT ?

-- name: busy
SELECT a.name, count(*) FROM task t JOIN attempt x ON x.task = t.id AND x.n = t.attempts JOIN agent a ON a.id = x.agent
WHERE t.state = 'active' GROUP BY a.name

-- name: ready
-- Per queue and lane; the task that is claimed next stands for its lane: all of it is in the index of ready tasks.
SELECT queue, lane, count(*), min(available_ms - priority * 60000), id FROM task WHERE state = 'ready'
GROUP BY queue, lane

-- name: lanes
SELECT l.id, q.name, l.needs, l.barred FROM lane l JOIN queue q ON q.id = l.queue

-- name: active
SELECT queue, count(*) FROM task WHERE state = 'active' GROUP BY queue

-- name: queues
SELECT id, name, paused_ms, paused_by FROM queue ORDER BY id LIMIT ?

-- name: available
SELECT id, available_ms FROM task WHERE id IN (SELECT value FROM json_each(?))

-- name: bursts
SELECT at_ms / ?1 * ?1, count(*), min(seq), max(seq) FROM event
WHERE kind = 7 AND kind >= 7 AND attempt > 0 AND seq > ?2 AND seq <= ?3 GROUP BY 1 ORDER BY 1 DESC LIMIT ?4

-- name: retried
SELECT e.seq, e.at_ms, e.task, a.name, q.name, e.data, x.cost_microusd
FROM event e LEFT JOIN attempt x ON x.task = e.task AND x.n = e.attempt LEFT JOIN agent a ON a.id = x.agent
LEFT JOIN task t ON t.id = e.task LEFT JOIN queue q ON q.id = t.queue
WHERE e.kind = 7 AND e.kind >= 7 AND e.seq >= ? AND e.seq <= ? AND e.task IS NOT NULL ORDER BY e.seq LIMIT ?

-- name: cost
SELECT sum(cost_microusd) FROM attempt WHERE cost_microusd > 0 AND ended_ms >= ? AND ended_ms <= ?

-- name: dead
SELECT t.id, q.name, a.name, t.reason, t.error_class, substr(t.error, 1, 2000), t.finished_ms, t.attempts
FROM task t JOIN queue q ON q.id = t.queue
LEFT JOIN attempt x ON x.task = t.id AND x.n = t.attempts LEFT JOIN agent a ON a.id = x.agent
WHERE t.state = 'dead' AND t.finished_ms >= ? AND t.reason IS NOT 'parent_failed'
ORDER BY t.finished_ms DESC LIMIT ?

-- name: delegated
-- All delegated tasks are looked through, but in the smallest index that holds them.
SELECT id, creator FROM task INDEXED BY task_creator WHERE creator IS NOT NULL AND id >= ? ORDER BY id DESC LIMIT ?

-- name: creators
SELECT id, creator FROM task WHERE id IN (SELECT value FROM json_each(?))

-- name: workers
SELECT t.id, a.name FROM task t JOIN attempt x ON x.task = t.id AND x.n = t.attempts JOIN agent a ON a.id = x.agent
WHERE t.id IN (SELECT value FROM json_each(?))

-- name: newest
-- Of one kind, the newest of the window.
SELECT e.seq, e.at_ms, a.name, e.data FROM event e LEFT JOIN actor a ON a.id = e.actor
WHERE e.kind = ? AND e.kind >= 7 AND e.seq > ? AND e.seq <= ? ORDER BY e.seq DESC LIMIT ?

-- name: talks
-- A page of the window. Whoever acts as itself is not named again in what is told (sqlite/sending.py).
SELECT e.actor, e.data ->> '$.from', e.data ->> '$.to', e.at_ms / ?1 * ?1,
    count(*), min(e.seq), max(e.seq), min(e.at_ms), max(e.at_ms)
FROM event e WHERE e.kind = 100 AND e.kind >= 7 AND e.task > 0 AND e.seq > ?2 AND e.seq <= ?3
AND e.data ->> '$.topic' IS NULL AND typeof(e.data ->> '$.to') = 'text' GROUP BY 1, 2, 3, 4 LIMIT ?4

-- name: unanswered
-- Of the newest messages, what was asked and has no reply.
SELECT m.id, m.source, m.target
FROM (SELECT id, source, target, type, state, conversation FROM message WHERE id < ? ORDER BY id DESC LIMIT ?) m
WHERE m.type = 'QUERY' AND m.state IN ('stored', 'delivered', 'acked') AND NOT EXISTS (
    SELECT 1 FROM message r WHERE r.conversation = coalesce(m.conversation, m.id) AND r.id > m.id AND r.reply_to = m.id)
LIMIT ?

-- name: running
SELECT t.id, a.name, x.claimed_ms FROM (SELECT id, attempts FROM task WHERE state = 'active' LIMIT ?) t
JOIN attempt x ON x.task = t.id AND x.n = t.attempts JOIN agent a ON a.id = x.agent ORDER BY x.claimed_ms

-- name: blocked
SELECT c.id, cq.name, p.id, pq.name, p.available_ms
FROM (SELECT id, queue FROM task WHERE state = 'blocked' AND id < ? LIMIT ?) c
JOIN edge e ON e.child = c.id AND e.ended IS NULL JOIN task p ON p.id = e.parent
JOIN queue cq ON cq.id = c.queue JOIN queue pq ON pq.id = p.queue
WHERE p.state = 'ready' AND p.available_ms <= ? LIMIT ?

-- name: held
SELECT t.id, a.name, x.claimed_ms, c.id, c.state, q.name, b.name, c.available_ms
FROM (SELECT id, attempts FROM task WHERE state = 'active' LIMIT ?) t
JOIN attempt x ON x.task = t.id AND x.n = t.attempts AND x.claimed_ms <= ? JOIN agent a ON a.id = x.agent
JOIN task c ON c.creator = t.id AND c.state IN ('ready', 'active') AND c.id < ?
JOIN queue q ON q.id = c.queue
LEFT JOIN attempt y ON y.task = c.id AND y.n = c.attempts AND c.state = 'active' LEFT JOIN agent b ON b.id = y.agent
LIMIT ?
