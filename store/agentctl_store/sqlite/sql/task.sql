-- name: insert
INSERT INTO task (id, queue, state, payload, correlation, priority, available_ms, key, on_parent_failure,
                  open_parents, deadline_ms, timeout_ms, retry, creator, lane, chain)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: served
-- How many declared agents take tasks, and how many of them from this queue.
SELECT count(*), sum(instr(queues, ?) > 0) FROM agent WHERE declared = 1 AND mode <> 'service'

-- name: delegator
-- Who adds a task for this one, if it belongs to the same piece of work: the one who says so, if it ever had an attempt
-- of it, else whoever had the last.
SELECT t.chain, x.agent, a.name, a.max_depth FROM task t
LEFT JOIN attempt x ON x.task = t.id AND x.n = coalesce(
    (SELECT max(y.n) FROM attempt y JOIN agent b ON b.id = y.agent WHERE y.task = t.id AND b.name = ?1), t.attempts)
LEFT JOIN agent a ON a.id = x.agent
WHERE t.id = ?2 AND t.correlation = ?3

-- name: lanes_idle
-- How many lanes of a queue have no unfinished task; the newest of all stays (sqlite/prune_lanes.py).
SELECT count(*) FROM lane l JOIN queue q ON q.id = l.queue
WHERE q.name = ? AND l.id < (SELECT max(id) FROM lane)
    AND NOT EXISTS (SELECT 1 FROM task WHERE lane = l.id AND lane > 0 AND finished_ms IS NULL)

-- name: lanes
SELECT l.id, q.name, l.needs, l.barred FROM lane l JOIN queue q ON q.id = l.queue WHERE l.id > ? ORDER BY l.id

-- name: chain
SELECT c.before, a.name FROM chain c JOIN agent a ON a.id = c.agent WHERE c.id = ?

-- name: chain_link
SELECT id FROM chain WHERE coalesce(before, 0) = ? AND agent = ?

-- name: waits_in
SELECT 1 FROM task WHERE queue = ? AND lane = ? AND state = '@state' LIMIT 1

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
WHERE t.queue = ? AND t.lane = ? AND t.state = 'ready'
ORDER BY t.available_ms - t.priority * 60000, t.id LIMIT 1

-- name: survey
-- All a claim must know, in one look at the edges of seven indexes: of each queue that is not paused, whether a task is
-- due, and its best ready one that asks nothing of its claimer; whether any lease or deadline is over, a schedule due,
-- or a question unanswered; the newest lane. `quiet` tells when each of these is due next.
SELECT q.id, q.name, t.id, t.available_ms - t.priority * 60000,
    (SELECT min(s.available_ms) FROM task s WHERE s.queue = q.id AND s.state = 'scheduled') <= ?1,
    (SELECT min(lease_until_boot_ms) FROM task WHERE state = 'active') <= ?2,
    (SELECT min(deadline_ms) FROM task WHERE deadline_ms IS NOT NULL AND finished_ms IS NULL) <= ?1 @others_due,
    0, @newest_lane
FROM queue q LEFT JOIN task t ON t.id = (
    SELECT r.id FROM task r WHERE r.queue = q.id AND r.lane = 0 AND r.state = 'ready'
    ORDER BY r.available_ms - r.priority * 60000, r.id LIMIT 1)
WHERE q.paused_ms IS NULL AND q.name IN (@names)

-- name: others_due
OR (SELECT min(due_ms) FROM schedule WHERE due_ms IS NOT NULL) <= ?1
OR (SELECT min(deadline_ms) FROM question WHERE ended_ms IS NULL AND deadline_ms IS NOT NULL) <= ?1

-- name: newest_lane
(SELECT max(id) FROM lane)

-- name: quiet
-- Of a claim that found nothing: the last event, whether all the same a task is ready, and when time asks for something
-- next, by the boot clock and then by the wall clock.
SELECT (SELECT max(seq) FROM event),
    EXISTS (SELECT 1 FROM json_each(?1) j JOIN queue q ON q.name = j.value AND q.paused_ms IS NULL
        WHERE EXISTS (SELECT 1 FROM task t WHERE t.queue = q.id AND t.state = 'ready')),
    (SELECT min(lease_until_boot_ms) FROM task WHERE state = 'active'),
    (SELECT min(deadline_ms) FROM task WHERE deadline_ms IS NOT NULL AND finished_ms IS NULL),
    (SELECT min(due_ms) FROM schedule WHERE due_ms IS NOT NULL),
    (SELECT min(deadline_ms) FROM question WHERE ended_ms IS NULL AND deadline_ms IS NOT NULL),
    (SELECT min((SELECT min(s.available_ms) FROM task s WHERE s.queue = q.id AND s.state = 'scheduled'))
        FROM json_each(?1) j JOIN queue q ON q.name = j.value AND q.paused_ms IS NULL)

-- name: survey_lanes
-- The best ready task of each of these lanes, of queues that are not paused, as `survey` tells it.
SELECT q.id, q.name, t.id, t.available_ms - t.priority * 60000, NULL, NULL, NULL, l.id, NULL
FROM json_each(?) j JOIN lane l ON l.id = j.value JOIN queue q ON q.id = l.queue JOIN task t ON t.id = (
    SELECT r.id FROM task r WHERE r.queue = l.queue AND r.lane = l.id AND r.state = 'ready'
    ORDER BY r.available_ms - r.priority * 60000, r.id LIMIT 1)

-- name: claimable
-- What a claim must know of a ready task: the columns of `one` that belong to the task alone. Asked before the update:
-- RETURNING the same takes three times as long, it goes through a table of its own.
SELECT id, (SELECT text FROM body WHERE body.id = payload), hex(correlation), priority, available_ms, attempts, burnt,
    throttled, key, on_parent_failure, open_parents, deadline_ms, timeout_ms, retry, creator, lane, chain, degraded,
    error_class, error
FROM task WHERE @which

-- name: one_ready
id = ?

-- name: next_ready
queue = ? AND lane = 0 AND state = 'ready' ORDER BY available_ms - priority * 60000, id LIMIT ?

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
-- Usage is what was used in all: it never shrinks.
UPDATE attempt SET progress = coalesce(?1, progress),
    input_tokens = coalesce(max(input_tokens, ?2), ?2, input_tokens),
    output_tokens = coalesce(max(output_tokens, ?3), ?3, output_tokens),
    cost_microusd = coalesce(max(cost_microusd, ?4), ?4, cost_microusd)
WHERE task = ?5 AND n = ?6

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

-- name: fall_back
-- Another agent takes over, with fresh tries.
UPDATE task SET state = @target(fall_back), degraded = queue, queue = ?, lane = ?, available_ms = ?, burnt = 0,
    throttled = 0, reason = ?, error_class = ?, error = ?, lease_until_boot_ms = NULL, cancel_asked = NULL
WHERE id = ? AND attempts = ? AND state IN (@sources(fall_back))

-- name: stand_in
-- Why it was needed stays on record: error_class and error are those of the last attempt.
UPDATE task SET state = @target(stand_in), result = ?, finished_ms = ?, degraded = coalesce(degraded, queue),
    burnt = burnt + ?, reason = ?, error_class = ?, error = ?, lease_until_boot_ms = NULL, cancel_asked = NULL
WHERE id = ? AND attempts = ? AND state IN (@sources(stand_in))

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
SELECT t.state, t.attempts, t.burnt, t.throttled, t.retry, t.cancel_asked, a.retry, x.outcome, a.name, a.fallback,
    t.degraded, t.queue, t.lane, t.chain
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

-- name: drop_question
UPDATE question SET ended_ms = ?, how = 'dropped' WHERE task = ? AND ended_ms IS NULL

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
    open_parents = 0, payload = coalesce(?, payload), deadline_ms = NULL, reason = ?,
    queue = coalesce(degraded, queue), lane = ?, degraded = NULL
WHERE id = ? AND state IN (@sources(requeue))

-- name: requeue_later
-- A spaced redrive: the dead letter waits its turn as a scheduled task.
UPDATE task SET state = @target(requeue_later), available_ms = ?, finished_ms = NULL, burnt = 0, throttled = 0,
    open_parents = 0, payload = coalesce(?, payload), deadline_ms = NULL, reason = ?,
    queue = coalesce(degraded, queue), lane = ?, degraded = NULL
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

-- name: void_messages
-- After a reboot nobody who took a message lives, and no wait for another delivery has a meaning.
UPDATE message SET due_boot_ms = 0 WHERE due_boot_ms IS NOT NULL

-- name: extend_messages
UPDATE message SET due_boot_ms = due_boot_ms + ? WHERE state = 'delivered'

-- name: shift_backoffs
UPDATE task SET available_ms = available_ms + ? WHERE state = 'scheduled' AND attempts > 0

-- name: shift_bounds
UPDATE bound SET full_us = full_us + ? WHERE full_us > 0

-- name: shift_breakers
UPDATE breaker SET until_ms = CASE WHEN until_ms > 0 THEN until_ms + ?1 ELSE 0 END,
    next_ms = CASE WHEN next_ms > 0 THEN next_ms + ?1 ELSE 0 END, since_ms = since_ms + ?1

-- name: any_message
SELECT 1 FROM message LIMIT 1

-- name: next_due
SELECT min(available_ms) FROM task WHERE queue = ? AND state = 'scheduled'

-- name: next_deadline
SELECT min(deadline_ms) FROM task WHERE deadline_ms IS NOT NULL AND finished_ms IS NULL

-- name: appointments
-- When the next run of a schedule is due, the latest that a clock has shown when one was planned, and when the next
-- question must have been answered.
SELECT (SELECT min(due_ms) FROM schedule WHERE due_ms IS NOT NULL),
    (SELECT max(reckoned_ms) FROM schedule WHERE due_ms IS NOT NULL),
    (SELECT min(deadline_ms) FROM question WHERE ended_ms IS NULL AND deadline_ms IS NOT NULL)

-- name: next_expiry
SELECT min(lease_until_boot_ms) FROM task WHERE state = 'active'

-- name: one
SELECT t.id, q.name, t.state, p.text, hex(t.correlation), t.priority, t.available_ms, t.attempts, t.burnt,
    t.throttled, t.key, t.on_parent_failure, t.open_parents, t.deadline_ms, t.timeout_ms, t.retry, t.creator,
    t.lane, t.chain, t.degraded, t.reason, t.error_class, t.error, r.text, t.finished_ms, t.cancel_asked,
    t.lease_until_boot_ms, a.name, x.session
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
SELECT t.id, q.name, t.state, p.text, r.text, t.reason, t.error, t.degraded IS NOT NULL
FROM edge e JOIN task t ON t.id = e.parent JOIN queue q ON q.id = t.queue
JOIN body p ON p.id = t.payload LEFT JOIN body r ON r.id = t.result
WHERE e.child = ? AND e.parent > ? ORDER BY e.parent LIMIT ?

-- name: held_by_session
SELECT x.task, x.n FROM attempt x JOIN task t ON t.id = x.task AND t.attempts = x.n AND t.state = 'active'
WHERE x.session = ? AND x.ended_ms IS NULL ORDER BY x.task

-- name: unfinished
-- Each state by its own index: the active ones, few, by their leases.
SELECT EXISTS (SELECT 1 FROM task WHERE queue = q.id AND lane IN (SELECT value FROM json_each(?2)) AND state = 'ready')
    OR EXISTS (SELECT 1 FROM task WHERE queue = q.id AND lane IN (SELECT value FROM json_each(?2)) AND state = 'scheduled')
    OR EXISTS (SELECT 1 FROM task INDEXED BY task_lease WHERE queue = q.id AND state = 'active')
FROM (SELECT (SELECT id FROM queue WHERE name = ?1) AS id) AS q

-- name: keep_receipt
INSERT INTO receipt VALUES (?, ?, ?, ?)
ON CONFLICT (client) DO UPDATE SET request = excluded.request, awake_ms = excluded.awake_ms, answer = excluded.answer

-- name: drop_receipt
DELETE FROM receipt WHERE client = ? AND request = ?

-- name: forget_receipts
DELETE FROM receipt WHERE awake_ms < ? OR awake_ms > ?

-- name: holder
SELECT a.name, x.session, a.checked FROM attempt x JOIN agent a ON a.id = x.agent WHERE x.task = ? AND x.n = ?

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
SELECT id FROM task WHERE id = ?1 AND correlation = ?3
UNION ALL SELECT h.id FROM attempt x JOIN task h ON h.id = x.task
WHERE x.session = ?2 AND x.ended_ms IS NULL AND h.correlation = ?3 LIMIT 1
