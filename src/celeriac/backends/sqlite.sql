-- Every statement of the SQLite result backend, by name; the table is in drivers/sqlite/layout.sql. All run inside a
-- transaction of `drivers.sqlite.Database`. Parameters stand in the order of the question marks.

-- name: put
-- id, task_id, final, expires, document. A replaced row gets the new id: watches read by ids.
INSERT OR REPLACE INTO results (id, task_id, final, expires, document) VALUES (?, ?, ?, ?, ?);

-- name: is_final
-- task_id, instant -> a row if a final document stands
SELECT 1 FROM results WHERE task_id = ? AND final AND (expires IS NULL OR expires > ?);

-- name: get
-- task_id, instant
SELECT document FROM results WHERE task_id = ? AND (expires IS NULL OR expires > ?);

-- name: forget
DELETE FROM results WHERE task_id = ?;

-- name: written_since
-- id, limit -> what was written after it
SELECT id, task_id FROM results WHERE id > ? ORDER BY id LIMIT ?;

-- name: last
SELECT last FROM numbers;

-- name: oldest
-- id, limit -> the rows after it, with their ends
SELECT id, expires FROM results WHERE id > ? ORDER BY id LIMIT ?;

-- name: expire
DELETE FROM results WHERE id = ?;

-- name: listen
-- topic, address
INSERT OR IGNORE INTO listeners (topic, address) VALUES (?, ?);

-- name: listens
-- topic, address -> a row if it does
SELECT 1 FROM listeners WHERE topic = ? AND address = ?;

-- name: deaf
DELETE FROM listeners WHERE address = ?;
