-- name: bounds
SELECT scope, name, starts, period_ms, burst, concurrency, max_depth, origin, full_us FROM bound ORDER BY scope, name

-- name: members
SELECT agent, provider, origin FROM member ORDER BY agent

-- name: budgets
SELECT scope, name, measure, per, amount, origin, zone, from_ms, until_ms, spent FROM budget
ORDER BY scope, name, measure, per

-- name: breakers
SELECT scope, name, window_ms, min_calls, share, open_ms, cap_ms, stagger_ms, origin, state, reason, opened, since_ms,
    until_ms, probe, probe_n, calls, next_ms, spaced
FROM breaker ORDER BY scope, name

-- name: running
-- What runs now, by agent and queue, with what it said it used: few rows, the active ones, found by their leases.
SELECT a.name, q.name, count(*), sum(coalesce(x.input_tokens, 0) + coalesce(x.output_tokens, 0)),
    sum(coalesce(x.cost_microusd, 0)), sum(max(?1 - x.claimed_ms - (SELECT coalesce(sum(g.value ->> 1), 0)
        FROM json_each(?2) g WHERE g.value ->> 0 > x.claimed_ms), 0))
FROM task t INDEXED BY task_lease CROSS JOIN attempt x ON x.task = t.id AND x.n = t.attempts
CROSS JOIN agent a ON a.id = x.agent CROSS JOIN queue q ON q.id = t.queue
WHERE t.state = 'active' GROUP BY a.id, q.id

-- name: spends
SELECT EXISTS (SELECT 1 FROM budget WHERE measure <> 'attempts')

-- name: of_sessions
SELECT x.session, x.task, x.n FROM task t INDEXED BY task_lease CROSS JOIN attempt x
WHERE t.state = 'active' AND x.task = t.id AND x.n = t.attempts AND x.session IS NOT NULL

-- name: tried
-- What each attempt of a task used.
SELECT a.name, coalesce(x.input_tokens, 0) + coalesce(x.output_tokens, 0), coalesce(x.cost_microusd, 0),
    max(coalesce(x.ended_ms, ?2) - x.claimed_ms - (SELECT coalesce(sum(g.value ->> 1), 0) FROM json_each(?3) g
        WHERE g.value ->> 0 > x.claimed_ms AND g.value ->> 0 <= coalesce(x.ended_ms, ?2)), 0)
FROM attempt x JOIN agent a ON a.id = x.agent WHERE x.task = ?1

-- name: whose
SELECT a.name, x.claimed_ms FROM attempt x JOIN agent a ON a.id = x.agent WHERE x.task = ? AND x.n = ?

-- name: depth
-- How many tasks wait in a queue; counted no further than asked.
SELECT (SELECT count(*) FROM (SELECT 1 FROM task WHERE queue = ?1 AND state = 'ready' LIMIT ?2))
    + (SELECT count(*) FROM (SELECT 1 FROM task WHERE queue = ?1 AND state = 'scheduled' LIMIT ?2))
    + (SELECT count(*) FROM (SELECT 1 FROM task WHERE queue = ?1 AND state = 'blocked' LIMIT ?2))

-- name: waits
-- Whether a queue has a ready task, or a due one.
SELECT EXISTS (SELECT 1 FROM task WHERE queue = q.id AND state = 'ready')
    OR EXISTS (SELECT 1 FROM task WHERE queue = q.id AND state = 'scheduled' AND available_ms <= ?2)
FROM queue q WHERE q.name = ?1 AND q.paused_ms IS NULL

-- name: set_full
UPDATE bound SET full_us = ? WHERE scope = ? AND name = ?

-- name: set_spent
UPDATE budget SET from_ms = ?, until_ms = ?, spent = ? WHERE scope = ? AND name = ? AND measure = ? AND per = ?

-- name: save_bound
INSERT INTO bound (scope, name, starts, period_ms, burst, concurrency, max_depth, origin, full_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (scope, name) DO UPDATE SET starts = excluded.starts, period_ms = excluded.period_ms,
    burst = excluded.burst, concurrency = excluded.concurrency, max_depth = excluded.max_depth,
    origin = excluded.origin, full_us = excluded.full_us

-- name: save_member
INSERT INTO member (agent, provider, origin) VALUES (?, ?, ?)
ON CONFLICT (agent) DO UPDATE SET provider = excluded.provider, origin = excluded.origin

-- name: save_budget
INSERT INTO budget (scope, name, measure, per, amount, origin, zone, from_ms, until_ms, spent)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (scope, name, measure, per) DO UPDATE SET amount = excluded.amount, origin = excluded.origin,
    zone = excluded.zone, from_ms = excluded.from_ms, until_ms = excluded.until_ms, spent = excluded.spent

-- name: save_breaker
INSERT INTO breaker (scope, name, window_ms, min_calls, share, open_ms, cap_ms, stagger_ms, origin, state, reason,
    opened, since_ms, until_ms, probe, probe_n, calls, next_ms, spaced)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (scope, name) DO UPDATE SET window_ms = excluded.window_ms, min_calls = excluded.min_calls,
    share = excluded.share, open_ms = excluded.open_ms, cap_ms = excluded.cap_ms, stagger_ms = excluded.stagger_ms,
    origin = excluded.origin, state = excluded.state, reason = excluded.reason, opened = excluded.opened,
    since_ms = excluded.since_ms, until_ms = excluded.until_ms, probe = excluded.probe, probe_n = excluded.probe_n,
    calls = excluded.calls, next_ms = excluded.next_ms, spaced = excluded.spaced
