-- name: meta
SELECT key, value FROM meta WHERE key IN ('anchor_seq', 'anchor_hash', 'cut_to')

-- name: last_event
SELECT coalesce(max(seq), 0) FROM event

-- name: chain
-- The history in order, with what each event's hash is made of.
SELECT e.seq, e.at_ms, e.kind, e.task, e.attempt, a.name, e.session, e.body, e.data, e.correlation,
    e.actor, e.hash, b.text, b.digest, b.id
FROM event e LEFT JOIN actor a ON a.id = e.actor LEFT JOIN body b ON b.id = e.body
WHERE e.seq > ? ORDER BY e.seq LIMIT ?

-- name: gaps
SELECT seq, data ->> '$.shift' FROM event WHERE kind = 80 AND kind >= 7 AND data ->> '$.shift' ORDER BY seq

-- name: tasks
SELECT id, queue, state, payload, correlation, priority, available_ms, attempts, burnt, throttled, key,
    on_parent_failure, open_parents, deadline_ms, timeout_ms, retry, creator, reason, error_class, error, result,
    finished_ms, cancel_asked, lane, chain, degraded
FROM task WHERE id > ? ORDER BY id LIMIT ?

-- name: attempts
SELECT x.task, x.n, a.name, x.slot, x.session, x.claimed_ms, x.ended_ms, x.outcome, x.error_class, x.error,
    x.exit_code, x.input_tokens, x.output_tokens, x.cost_microusd, x.partial
FROM attempt x JOIN agent a ON a.id = x.agent WHERE x.task > ? AND x.task <= ? ORDER BY x.task, x.n

-- name: questions
SELECT task, n, asked_ms, question, options, deadline_ms, fallback, ended_ms, how, answer, person FROM question
WHERE task > ? AND task <= ? ORDER BY task, n

-- name: edges
SELECT child, parent, ended FROM edge WHERE child > ? AND child <= ? ORDER BY child, parent

-- name: lines
SELECT e.seq, e.at_ms, e.kind, e.task, e.attempt, a.name, e.session, e.body, e.data, e.correlation
FROM event e LEFT JOIN actor a ON a.id = e.actor
WHERE e.task > ? AND e.task <= ? AND e.kind < 30 ORDER BY e.task, e.seq

-- name: parents_ended
-- Which of these tasks ended between two events: while its child waited for it.
SELECT DISTINCT task FROM event
WHERE task IN (SELECT value FROM json_each(?)) AND kind IN (6, 12, 13, 22) AND seq > ? AND seq <= ?

-- name: sessions
SELECT s.id, a.name, s.slot, s.nonce, s.task, s.attempt, s.pid, s.started_ms, s.ended_ms, s.outcome,
    s.exit_code, s.signal, s.detail, t.id
FROM session s JOIN agent a ON a.id = s.agent LEFT JOIN task t ON t.id = s.task
WHERE s.id IN (SELECT value FROM json_each(?))

-- name: session_count
SELECT count(*) FROM session

-- name: known_tasks
SELECT id FROM task WHERE id IN (SELECT value FROM json_each(?))

-- name: queue
SELECT id, name, paused_ms, paused_by, reason FROM queue

-- name: agent
SELECT id, name, mode, queues, instances, scale, retry, desired, restart_seq, reset_seq, declared, since_ms,
    can, fallback, max_depth, checked FROM agent

-- name: actor
SELECT id, name FROM actor

-- name: instance
SELECT a.name, i.slot, i.phase, i.health, i.reason, i.latched, i.since_ms
FROM instance i JOIN agent a ON a.id = i.agent

-- name: seq_before
-- Time grows with the sequence, so the last event of a moment is found by halving.
SELECT seq, at_ms FROM event WHERE seq >= ? ORDER BY seq LIMIT 1

-- name: bodies
SELECT id, text FROM body WHERE id IN (SELECT value FROM json_each(?))

-- name: of_kind
SELECT e.seq, e.at_ms, e.kind, e.task, e.attempt, a.name, e.session, e.body, e.data, e.correlation
FROM event e LEFT JOIN actor a ON a.id = e.actor
WHERE e.kind = ? AND e.kind >= 7 AND e.seq > ? AND e.seq <= ? ORDER BY e.seq LIMIT ?

-- name: messages
SELECT id, source, target, topic, post, type, state, payload, correlation, conversation, reply_to, priority, expires_ms,
    key, max_deliveries, deliveries, burnt, reader, delivered_ms, finished_ms, reason, error
FROM message WHERE id > ? ORDER BY id LIMIT ?

-- name: message_lines
SELECT e.seq, e.at_ms, e.kind, e.task, e.attempt, a.name, e.session, e.body, e.data, e.correlation
FROM event e LEFT JOIN actor a ON a.id = e.actor
WHERE e.task > ? AND e.task <= ? AND e.kind BETWEEN 100 AND 109 ORDER BY e.task, e.seq
