-- name: ask
UPDATE task SET state = @target(ask), lease_until_boot_ms = NULL, reason = NULL
WHERE id = ? AND attempts = ? AND state IN (@sources(ask))

-- name: answer
-- It keeps its place in the queue, and so goes before what was added since.
UPDATE task SET state = @target(answer) WHERE id = ? AND state IN (@sources(answer))

-- name: insert
INSERT INTO question (task, n, asked_ms, question, options, deadline_ms, fallback) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: end
UPDATE question SET ended_ms = ?, how = ?, answer = ?, person = ? WHERE task = ? AND n = ? AND ended_ms IS NULL

-- name: asked
-- What a task asks now.
SELECT n, options FROM question WHERE task = ? AND ended_ms IS NULL

-- name: said
SELECT question, options FROM question WHERE task = ? AND n = ?

-- name: defaults
SELECT count(*) FROM question WHERE task = ? AND how = 'default'

-- name: due
SELECT task, n, fallback, question FROM question WHERE deadline_ms <= ? AND ended_ms IS NULL AND deadline_ms IS NOT NULL
ORDER BY deadline_ms, task LIMIT ?

-- name: list
SELECT x.task, x.n, q.name, a.name, c.slot, x.asked_ms, x.question, x.options, x.deadline_ms, x.fallback, x.ended_ms,
    x.how, x.answer, x.person
FROM question x JOIN task t ON t.id = x.task JOIN queue q ON q.id = t.queue
JOIN attempt c ON c.task = x.task AND c.n = x.n JOIN agent a ON a.id = c.agent WHERE @which

-- name: open
x.ended_ms IS NULL ORDER BY x.asked_ms, x.task LIMIT ?

-- name: of_task
x.task = ? ORDER BY x.n
