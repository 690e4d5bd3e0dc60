-- name: insert
INSERT INTO task (id, queue, state, payload, correlation, priority, available_ms, key, on_parent_failure,
                  open_parents, deadline_ms, timeout_ms, retry, creator)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: by_key
SELECT t.id, t.state, b.text FROM task t LEFT JOIN body b ON b.id = t.result WHERE t.key = ?

-- name: parent
SELECT id, state FROM task WHERE id = ?

-- name: parent_by_key
SELECT id, state FROM task WHERE key = ?

-- name: insert_edge
INSERT INTO edge (parent, child, ended) VALUES (?, ?, ?)

-- name: due
-- One probe before a claim: is anything of this kind to be done at all? Each is a look at the edge of an index.
SELECT
    (SELECT min(lease_until_boot_ms) FROM task WHERE state = 'active') <= ?,
    (SELECT min(deadline_ms) FROM task WHERE deadline_ms IS NOT NULL AND finished_ms IS NULL) <= ?

-- name: scheduled_due
SELECT id FROM task WHERE queue = ? AND state = 'scheduled' AND available_ms <= ? ORDER BY available_ms LIMIT ?

-- name: promote
UPDATE task SET state = @target(promote) WHERE id = ? AND state IN (@sources(promote))

-- name: pick
SELECT t.id, t.available_ms - t.priority * 60000 FROM task t
WHERE t.queue = ? AND t.state = 'ready'
ORDER BY t.available_ms - t.priority * 60000, t.id LIMIT 1

-- name: survey
-- All a claim must know, in one look at the edges of five indexes: of each queue that is not paused, whether a task is
-- due, and its best ready one; and whether any lease or deadline is over.
SELECT q.id, q.name, t.id, t.available_ms - t.priority * 60000,
    (SELECT min(s.available_ms) FROM task s WHERE s.queue = q.id AND s.state = 'scheduled') <= ?1,
    (SELECT min(lease_until_boot_ms) FROM task WHERE state = 'active') <= ?2,
    (SELECT min(deadline_ms) FROM task WHERE deadline_ms IS NOT NULL AND finished_ms IS NULL) <= ?1
FROM queue q LEFT JOIN task t ON t.id = (
    SELECT r.id FROM task r WHERE r.queue = q.id AND r.state = 'ready'
    ORDER BY r.available_ms - r.priority * 60000, r.id LIMIT 1)
WHERE q.paused_ms IS NULL AND q.name IN (@names)

-- name: claimable
-- What a claim must know of a ready task: the columns of `one` that belong to the task alone. Asked before the update:
-- RETURNING the same takes three times as long, it goes through a table of its own.
SELECT id, (SELECT text FROM body WHERE body.id = payload), hex(correlation), priority, available_ms, attempts, burnt,
    throttled, key, on_parent_failure, open_parents, deadline_ms, timeout_ms, retry, creator, error_class, error
FROM task WHERE @which

-- name: one_ready
id = ?

-- name: next_ready
queue = ? AND state = 'ready' ORDER BY available_ms - priority * 60000, id LIMIT ?

-- name: claim
UPDATE task SET state = @target(claim), attempts = attempts + 1, lease_until_boot_ms = ?, reason = NULL
WHERE id = ? AND attempts = ? AND state IN (@sources(claim))

-- name: insert_attempt
INSERT INTO attempt (task, n, agent, slot, session, claimed_ms) VALUES (?, ?, ?, ?, ?, ?)

-- name: heartbeat
UPDATE task SET lease_until_boot_ms = max(lease_until_boot_ms, ?)
WHERE id = ? AND attempts = ? AND state IN (@sources(heartbeat))
RETURNING lease_until_boot_ms, cancel_asked, EXISTS (SELECT 1 FROM budget)

-- name: report
UPDATE attempt SET progress = coalesce(?, progress), input_tokens = coalesce(?, input_tokens),
    output_tokens = coalesce(?, output_tokens), cost_microusd = coalesce(?, cost_microusd)
WHERE task = ? AND n = ?

-- name: complete
UPDATE task SET state = @target(complete), result = ?, finished_ms = ?, lease_until_boot_ms = NULL,
    cancel_asked = NULL, reason = NULL, error_class = NULL, error = NULL
WHERE id = ? AND attempts = ? AND state IN (@sources(complete))

-- name: retry
UPDATE task SET state = @target(retry), available_ms = ?, burnt = burnt + ?, throttled = throttled + ?,
    reason = ?, error_class = ?, error = ?, lease_until_boot_ms = NULL, cancel_asked = NULL
WHERE id = ? AND attempts = ? AND state IN (@sources(retry))

-- name: release
UPDATE task SET state = @target(release), reason = ?, lease_until_boot_ms = NULL
WHERE id = ? AND attempts = ? AND state IN (@sources(release))

-- name: bury
UPDATE task SET state = @target(bury), finished_ms = ?, burnt = burnt + ?, reason = ?, error_class = ?, error = ?,
    lease_until_boot_ms = NULL, cancel_asked = NULL, open_parents = 0
WHERE id = ? AND state IN (@sources(bury))

-- name: used
-- What an attempt said it used, and whether others wait for its task.
SELECT input_tokens, output_tokens, cost_microusd, EXISTS (SELECT 1 FROM edge WHERE parent = ?1)
FROM attempt WHERE task = ?1 AND n = ?2

-- name: end_attempt
UPDATE attempt SET ended_ms = ?, outcome = ?, error_class = ?, error = ?, exit_code = ?,
    input_tokens = ?, output_tokens = ?, cost_microusd = ?
WHERE task = ? AND n = ? AND ended_ms IS NULL

-- name: held
-- What ending an attempt must know of its task.
SELECT t.state, t.attempts, t.burnt, t.throttled, t.retry, t.cancel_asked, a.retry, x.outcome
FROM task t LEFT JOIN attempt x ON x.task = t.id AND x.n = ?1 LEFT JOIN agent a ON a.id = x.agent
WHERE t.id = ?2

-- name: has_children
SELECT 1 FROM edge WHERE parent = ? LIMIT 1

-- name: children
SELECT t.id, t.open_parents, t.on_parent_failure, t.available_ms
FROM edge e JOIN task t ON t.id = e.child WHERE e.parent = ? AND e.ended IS NULL AND t.state = 'blocked'

-- name: end_edges
-- A task that has ended waits for nobody.
UPDATE edge SET ended = 1 WHERE child = ? AND ended IS NULL

-- name: end_edge
UPDATE edge SET ended = 1 WHERE parent = ? AND child = ?

-- name: fewer_parents
UPDATE task SET open_parents = open_parents - 1 WHERE id = ?

-- name: unblock
UPDATE task SET state = @target(unblock), open_parents = 0, available_ms = ?
WHERE id = ? AND state IN (@sources(unblock))

-- name: defer
UPDATE task SET state = @target(defer), open_parents = 0 WHERE id = ? AND state IN (@sources(defer))

-- name: cancel
UPDATE task SET state = @target(cancel), finished_ms = ?, reason = ?, lease_until_boot_ms = NULL, cancel_asked = NULL,
    open_parents = 0
WHERE id = ? AND state IN (@sources(cancel))

-- name: ask_cancel
UPDATE task SET cancel_asked = 1, reason = ? WHERE id = ? AND state IN (@sources(ask_cancel))

-- name: hasten
UPDATE task SET state = @target(hasten), available_ms = ? WHERE id = ? AND state IN (@sources(hasten))

-- name: requeue
UPDATE task SET state = @target(requeue), available_ms = ?, finished_ms = NULL, burnt = 0, throttled = 0,
    open_parents = 0, payload = coalesce(?, payload), deadline_ms = NULL, reason = ?
WHERE id = ? AND state IN (@sources(requeue))

-- name: requeue_later
-- A spaced redrive: the dead letter waits its turn as a scheduled task.
UPDATE task SET state = @target(requeue_later), available_ms = ?, finished_ms = NULL, burnt = 0, throttled = 0,
    open_parents = 0, payload = coalesce(?, payload), deadline_ms = NULL, reason = ?
WHERE id = ? AND state IN (@sources(requeue_later))

-- name: discard
UPDATE task SET state = @target(discard), finished_ms = ?, reason = ? WHERE id = ? AND state IN (@sources(discard))

-- name: lost
SELECT id, attempts FROM task WHERE state = 'active' AND lease_until_boot_ms <= ?
ORDER BY lease_until_boot_ms LIMIT ?

-- name: overdue
SELECT id, state, attempts FROM task WHERE deadline_ms <= ? AND deadline_ms IS NOT NULL AND finished_ms IS NULL
ORDER BY deadline_ms LIMIT ?

-- name: extend_all
UPDATE task SET lease_until_boot_ms = lease_until_boot_ms + ? WHERE state = 'active'

-- name: void_all
UPDATE task SET lease_until_boot_ms = 0 WHERE state = 'active'

-- name: shift_backoffs
UPDATE task SET available_ms = available_ms + ? WHERE state = 'scheduled' AND attempts > 0

-- name: shift_bounds
UPDATE bound SET full_us = full_us + ? WHERE full_us > 0

-- name: shift_breakers
UPDATE breaker SET until_ms = CASE WHEN until_ms > 0 THEN until_ms + ?1 ELSE 0 END,
    next_ms = CASE WHEN next_ms > 0 THEN next_ms + ?1 ELSE 0 END, since_ms = since_ms + ?1

-- name: next_due
SELECT min(available_ms) FROM task WHERE queue = ? AND state = 'scheduled'

-- name: next_expiry
SELECT min(lease_until_boot_ms) FROM task WHERE state = 'active'

-- name: one
SELECT t.id, q.name, t.state, p.text, hex(t.correlation), t.priority, t.available_ms, t.attempts, t.burnt,
    t.throttled, t.key, t.on_parent_failure, t.open_parents, t.deadline_ms, t.timeout_ms, t.retry, t.creator,
    t.reason, t.error_class, t.error, r.text, t.finished_ms, t.cancel_asked, t.lease_until_boot_ms, a.name, x.session
FROM task t JOIN queue q ON q.id = t.queue JOIN body p ON p.id = t.payload
LEFT JOIN body r ON r.id = t.result
LEFT JOIN attempt x ON x.task = t.id AND x.n = t.attempts AND t.state = 'active'
LEFT JOIN agent a ON a.id = x.agent
WHERE t.id = ?

-- name: between
SELECT id FROM task WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?

-- name: attempts
SELECT x.task, x.n, a.name, x.slot, x.session, x.claimed_ms, x.ended_ms, x.outcome, x.error_class, x.error,
    x.exit_code, x.input_tokens, x.output_tokens, x.cost_microusd, x.progress, b.text
FROM attempt x JOIN agent a ON a.id = x.agent LEFT JOIN body b ON b.id = x.partial WHERE x.task = ? ORDER BY x.n

-- name: parents
SELECT t.id, q.name, t.state, p.text, r.text, t.reason, t.error
FROM edge e JOIN task t ON t.id = e.parent JOIN queue q ON q.id = t.queue
JOIN body p ON p.id = t.payload LEFT JOIN body r ON r.id = t.result
WHERE e.child = ? AND e.parent > ? ORDER BY e.parent LIMIT ?

-- name: held_by_session
SELECT x.task, x.n FROM attempt x JOIN task t ON t.id = x.task AND t.attempts = x.n AND t.state = 'active'
WHERE x.session = ? AND x.ended_ms IS NULL ORDER BY x.task

-- name: unfinished
-- Each state by its own index: the active ones, few, by their leases.
SELECT EXISTS (SELECT 1 FROM task WHERE queue = q.id AND state = 'ready')
    OR EXISTS (SELECT 1 FROM task WHERE queue = q.id AND state = 'scheduled')
    OR EXISTS (SELECT 1 FROM task INDEXED BY task_lease WHERE queue = q.id AND state = 'active')
FROM (SELECT (SELECT id FROM queue WHERE name = ?) AS id) AS q

-- name: keep_receipt
INSERT INTO receipt VALUES (?, ?, ?, ?)
ON CONFLICT (client) DO UPDATE SET request = excluded.request, awake_ms = excluded.awake_ms, answer = excluded.answer

-- name: drop_receipt
DELETE FROM receipt WHERE client = ? AND request = ?

-- name: forget_receipts
DELETE FROM receipt WHERE awake_ms < ? OR awake_ms > ?

-- name: holder
SELECT a.name, x.session FROM attempt x JOIN agent a ON a.id = x.agent WHERE x.task = ? AND x.n = ?

-- name: runs
SELECT 1 FROM session WHERE id = ? AND ended_ms IS NULL

-- name: took_part
SELECT 1 FROM attempt x JOIN agent a ON a.id = x.agent WHERE x.task = ? AND a.name = ? LIMIT 1

-- name: same_work
-- A task the session holds now shares its correlation id: parents, siblings and children of what it works on.
SELECT 1 FROM task t JOIN attempt x ON x.session = ?2 AND x.ended_ms IS NULL JOIN task h ON h.id = x.task
WHERE t.id = ?1 AND h.correlation = t.correlation LIMIT 1

-- name: added_by
SELECT 1 FROM task t CROSS JOIN attempt x ON x.task = t.creator CROSS JOIN agent a ON a.id = x.agent
WHERE t.id = ? AND a.name = ? LIMIT 1

-- name: part_in_work
SELECT 1 FROM task WHERE id = ?1 AND correlation = ?3
UNION ALL SELECT 1 FROM attempt x JOIN task h ON h.id = x.task
WHERE x.session = ?2 AND x.ended_ms IS NULL AND h.correlation = ?3 LIMIT 1
