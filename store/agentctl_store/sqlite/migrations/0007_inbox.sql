-- How many messages of one sender may wait unread in one inbox; and who has how many there (sqlite/sending.py). By source
-- first: what is asked of an inbox alone keeps to the indexes that are in its order.
ALTER TABLE damping ADD COLUMN unread INTEGER NOT NULL DEFAULT 1000 CHECK (unread >= 0);
CREATE INDEX message_unread ON message (source, target) WHERE state = 'stored';
