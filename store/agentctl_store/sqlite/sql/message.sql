-- name: insert
INSERT INTO message (id, source, target, topic, post, type, state, payload, correlation, conversation, reply_to,
                     priority, expires_ms, key, max_deliveries, finished_ms, reason, error, signature)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: exists
SELECT 1 FROM message WHERE id = ?

-- name: by_key
SELECT id, state, reason, error, topic FROM message WHERE source = ? AND key = ?

-- name: copies
SELECT id FROM message WHERE id = ?1 OR post = ?1 ORDER BY id

-- name: answered
-- What a reply inherits of the message it answers.
SELECT source, target, topic, coalesce(conversation, id), correlation FROM message WHERE id = ?

-- name: recipient
-- Whether it is known, whether agentctl.toml named it once, and whether it does now; and whether a schema may apply.
SELECT a.id IS NOT NULL, a.mode IS NOT NULL, a.declared, EXISTS (SELECT 1 FROM message_schema)
FROM (SELECT 1) LEFT JOIN agent a ON a.name = ?

-- name: work_of
SELECT correlation FROM task WHERE id = ?

-- name: peek
-- Whether a read would find anything, or has anything to do first: three looks at the edges of indexes.
SELECT EXISTS (SELECT 1 FROM message WHERE target = ?1 AND state = 'stored' AND due_boot_ms IS NULL)
    OR EXISTS (SELECT 1 FROM message WHERE target = ?1 AND state = 'stored' AND due_boot_ms <= ?2)
    OR EXISTS (SELECT 1 FROM message WHERE state = 'delivered' AND due_boot_ms <= ?2)

-- name: next
-- A number that is bound to LIMIT is looked at when a statement is prepared, which is then done anew each time (2 µs
-- become 50): so it stands there. With what `due` asks: in most reads this one question is enough. Those whose time is
-- over are passed by: an inbox can hold any number of them, and to expire them all would keep other writers waiting.
SELECT (SELECT min(due_boot_ms) FROM message WHERE state = 'delivered') <= ?1
    OR (SELECT min(expires_ms) FROM message WHERE state = 'stored' AND expires_ms IS NOT NULL) <= ?2
    OR EXISTS (SELECT 1 FROM message WHERE target = ?3 AND state = 'stored' AND due_boot_ms <= ?1),
    @message, m.signature FROM message m LEFT JOIN body b ON b.id = m.payload
WHERE m.target = ?3 AND m.state = 'stored' AND m.due_boot_ms IS NULL AND (m.expires_ms IS NULL OR m.expires_ms > ?2)
ORDER BY (m.id >> 20) - m.priority * 60000, m.id LIMIT @limit

-- name: next_again
SELECT 0, @message, m.signature FROM message m LEFT JOIN body b ON b.id = m.payload
WHERE m.target = ? AND m.state = 'stored' AND m.due_boot_ms <= ? AND (m.expires_ms IS NULL OR m.expires_ms > ?)
ORDER BY m.due_boot_ms LIMIT @limit

-- name: deliver
UPDATE message SET state = @target(deliver), deliveries = deliveries + 1, burnt = burnt + 1, due_boot_ms = ?,
    reader = ?, delivered_ms = ?
WHERE id = ? AND deliveries = ? AND state IN (@sources(deliver))

-- name: ack
UPDATE message SET state = @target(ack), finished_ms = ?, due_boot_ms = NULL
WHERE id = ? AND deliveries = ? AND state IN (@sources(ack))

-- name: give_back
UPDATE message SET state = @target(give_back), due_boot_ms = ?, burnt = burnt - ?
WHERE id = ? AND deliveries = ? AND state IN (@sources(give_back))

-- name: expire
UPDATE message SET state = @target(expire), finished_ms = ?, reason = 'expired', due_boot_ms = NULL
WHERE id = ? AND state IN (@sources(expire))

-- name: bury
UPDATE message SET state = @target(bury), finished_ms = ?, reason = ?, error = ?, due_boot_ms = NULL
WHERE id = ? AND state IN (@sources(bury))

-- name: requeue
UPDATE message SET state = @target(requeue), finished_ms = NULL, reason = ?, error = NULL, burnt = 0,
    payload = coalesce(?, payload), expires_ms = NULL, signature = ?
WHERE id = ? AND state IN (@sources(requeue))

-- name: discard
UPDATE message SET state = @target(discard), finished_ms = ?, reason = ? WHERE id = ? AND state IN (@sources(discard))

-- name: deliverable
-- All that is or may become so again, a part at a time.
SELECT @message, m.signature FROM message m LEFT JOIN body b ON b.id = m.payload
WHERE m.id > ? AND m.state NOT IN ('acked', 'discarded') ORDER BY m.id LIMIT ?

-- name: sign
UPDATE message SET signature = ? WHERE id = ?

-- name: unacked
-- Delivered, and no ack came in time; with what decides what follows.
SELECT id, target, deliveries, burnt, max_deliveries, expires_ms FROM message
WHERE state = 'delivered' AND due_boot_ms <= ? ORDER BY due_boot_ms LIMIT ?

-- name: outlived
SELECT id, target FROM message
WHERE state = 'stored' AND expires_ms <= ? AND expires_ms IS NOT NULL ORDER BY expires_ms LIMIT ?

-- name: away
-- Whether an agent is stopped, or no longer named by agentctl.toml.
SELECT desired = 'stopped' OR (mode IS NOT NULL AND NOT declared) FROM agent WHERE name = ?

-- name: next_awaited
SELECT (SELECT min(due_boot_ms) FROM message WHERE state = 'delivered'),
    (SELECT min(expires_ms) FROM message WHERE state = 'stored' AND expires_ms IS NOT NULL)

-- name: one
SELECT @message FROM message m LEFT JOIN body b ON b.id = m.payload WHERE m.id = ?

-- name: between
SELECT id FROM message WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?

-- name: thread
SELECT @listed FROM message m LEFT JOIN body b ON b.id = m.payload
WHERE (m.id = ?1 OR m.conversation = ?1) AND (?2 IS NULL OR m.source = ?2 OR m.target = ?2) ORDER BY m.id LIMIT ?3

-- name: some
SELECT @listed FROM message m LEFT JOIN body b ON b.id = m.payload WHERE @where ORDER BY @order LIMIT ?

-- name: subscribers
SELECT agent FROM subscription WHERE topic = ? ORDER BY agent LIMIT 10001

-- name: declared
SELECT name FROM agent WHERE declared ORDER BY name LIMIT 10001

-- name: topics
SELECT topic, agent FROM subscription ORDER BY topic, agent

-- name: subscribe
INSERT OR IGNORE INTO subscription VALUES (?, ?, ?)

-- name: subscribed
SELECT count(*) FROM subscription WHERE agent = ?

-- name: unsubscribe
DELETE FROM subscription WHERE topic = ? AND agent = ?

-- name: schemas
SELECT scope, schema, since_ms FROM message_schema ORDER BY scope

-- name: schemas_for
SELECT scope, schema FROM message_schema WHERE scope IN (?, ?)

-- name: set_schema
INSERT INTO message_schema VALUES (?, ?, ?)
ON CONFLICT (scope) DO UPDATE SET schema = excluded.schema, since_ms = excluded.since_ms

-- name: remove_schema
DELETE FROM message_schema WHERE scope = ?

-- name: damping
SELECT messages, window_ms, unread FROM damping

-- name: set_damping
INSERT INTO damping (id, messages, window_ms, unread) VALUES (1, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET messages = excluded.messages, window_ms = excluded.window_ms, unread = excluded.unread

-- name: crowded
-- Whether as many messages of one wait unread in another's inbox as may: one look at that many entries of an index.
SELECT 1 FROM message WHERE source = ? AND target = ? AND state = 'stored' LIMIT 1 OFFSET (
    SELECT CASE WHEN unread = 0 THEN 9223372036854775807 ELSE unread - 1 END
    FROM (SELECT coalesce(max(unread), @unread) AS unread FROM damping))

-- name: outlived_from
-- Of one sender in one inbox. First of all whether any is at all: the edge of another index, where an inbox in which
-- none is would be looked through with each message that is refused.
SELECT m.id FROM (
    SELECT expires_ms AS first_ms FROM message WHERE state = 'stored' AND expires_ms IS NOT NULL
    ORDER BY expires_ms LIMIT 1
) CROSS JOIN message m
WHERE first_ms <= ?3 AND m.source = ?1 AND m.target = ?2 AND m.state = 'stored' AND m.expires_ms <= ?3 LIMIT @limit

-- name: oldest_unread
SELECT min(id) FROM message WHERE source = ? AND target = ? AND state = 'stored'

-- name: exchanged
-- What two said to each other in a conversation since a moment, the newest first; not what a clock that was set back
-- since said is yet to come.
SELECT id, type FROM (
    SELECT id, type, source, target FROM message WHERE conversation = ?1 AND id >= ?2 AND id < ?5
    ORDER BY id DESC LIMIT 1000)
WHERE (source = ?3 AND target = ?4) OR (source = ?4 AND target = ?3) LIMIT @limit

-- name: work_ended
SELECT 1 FROM task WHERE id = ?1 AND correlation = ?2 AND finished_ms >= ?3
UNION ALL
SELECT 1 FROM task WHERE correlation = ?2 AND hex(substr(correlation, 1, 8)) <> printf('%016X', id) AND finished_ms >= ?3
LIMIT 1

-- name: last_told
SELECT max(at_ms) FROM event WHERE task = ? AND kind = ?
