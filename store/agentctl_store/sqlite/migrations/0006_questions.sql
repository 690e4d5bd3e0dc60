-- What an attempt asked a person, which ended it, and what became of that.
CREATE TABLE question (
    task        INTEGER NOT NULL REFERENCES task ON DELETE CASCADE,
    n           INTEGER NOT NULL CHECK (n > 0),
    asked_ms    INTEGER NOT NULL,
    question    TEXT NOT NULL,
    options     TEXT,     -- a JSON list
    deadline_ms INTEGER,
    fallback    TEXT,     -- the answer that is given at the deadline; without one the task dies then
    ended_ms    INTEGER,
    how         TEXT CHECK (how IN ('answered', 'default', 'rejected', 'unanswered', 'dropped')),
    answer      TEXT,
    person      TEXT,
    PRIMARY KEY (task, n),
    CHECK ((ended_ms IS NULL) = (how IS NULL)),
    CHECK (fallback IS NULL OR deadline_ms IS NOT NULL),
    CHECK ((answer IS NOT NULL) = coalesce(how IN ('answered', 'default'), 0)),
    CHECK (person IS NULL OR how = 'answered' OR how = 'rejected')
) STRICT, WITHOUT ROWID;
CREATE INDEX question_open ON question (asked_ms, task) WHERE ended_ms IS NULL;
CREATE INDEX question_deadline ON question (deadline_ms) WHERE ended_ms IS NULL AND deadline_ms IS NOT NULL;

-- An attempt can end by asking. To change the constraint the usual way would write the table anew, a row for each claim
-- there ever was; what the rows hold does not change (https://sqlite.org/lang_altertable.html, section 7).
PRAGMA writable_schema=ON;
UPDATE sqlite_schema SET sql = replace(sql, 'outcome = ''cancelled'')', 'outcome = ''cancelled'' OR outcome = ''asked'')')
WHERE type = 'table' AND name = 'attempt';
PRAGMA writable_schema=RESET;
