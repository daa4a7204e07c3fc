-- Every statement of the SQLite result backend, by name; the tables are in drivers/sqlite/layout.sql and added.sql. All
-- run inside a transaction of `drivers.sqlite.Database`. Parameters stand in the order of the question marks.

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

-- ---- members of chords --------------------------------------------------------------------------------------------

-- name: chord
-- name, instant -> id, size and number of members
SELECT id, size, counted FROM chords WHERE name = ? AND (expires IS NULL OR expires > ?);

-- name: make_chord
-- id, name, expires
INSERT INTO chords (id, name, size, counted, expires) VALUES (?, ?, 0, 0, ?);

-- name: begin_chord
-- size, expires, id
UPDATE chords SET size = ?, expires = ? WHERE id = ?;

-- name: grow_chord
-- by how many, id
UPDATE chords SET size = size + ? WHERE id = ?;

-- name: counted
-- id -> whether it is complete
UPDATE chords SET counted = counted + 1 WHERE id = ? RETURNING counted = size;

-- name: add_part
-- chord, task_id, place, document
INSERT OR IGNORE INTO parts (chord, task_id, place, document) VALUES (?, ?, ?, ?);

-- name: parts
-- chord
SELECT task_id, place, document FROM parts WHERE chord = ? ORDER BY place, id;

-- name: end_chord
-- its name; upkeep erases it
UPDATE chords SET name = NULL, expires = 0 WHERE name = ?;

-- name: ended_chords
-- instant, limit
SELECT id FROM chords WHERE expires IS NOT NULL AND expires <= ? ORDER BY expires LIMIT ?;

-- name: forget_name
-- id: members that come now are another chord's
UPDATE chords SET name = NULL WHERE id = ?;

-- name: erase_parts
-- chord, limit
DELETE FROM parts WHERE id IN (SELECT id FROM parts WHERE chord = ? LIMIT ?);

-- name: erase_chord
DELETE FROM chords WHERE id = ?;
