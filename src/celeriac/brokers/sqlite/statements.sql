-- Every statement of the SQLite broker, by name; the tables are in drivers/sqlite/layout.sql. All run inside a
-- transaction of `drivers.sqlite.Database`. Parameters stand in the order of the question marks.

-- ---- queues -----------------------------------------------------------------------------------------------------

-- name: queue
SELECT id FROM queues WHERE name = ?;

-- name: make_queue
INSERT INTO queues (name) VALUES (?) RETURNING id;

-- ---- publishing -------------------------------------------------------------------------------------------------

-- name: write_message
-- id, payload
INSERT INTO messages (id, payload) VALUES (?, ?);

-- name: wait
-- queue, shelf, priority, place, message, strikes
INSERT INTO waiting (queue, shelf, priority, place, message, strikes) VALUES (?, ?, ?, ?, ?, ?);

-- name: delay
-- queue, due, message, priority, strikes
INSERT INTO delayed (queue, due, message, priority, strikes) VALUES (?, ?, ?, ?, ?);

-- name: length
-- queue -> what counts for its limit
SELECT count(*) FROM waiting WHERE queue = ? AND shelf IN (0, 1);

-- name: least_urgent
-- queue -> priority of what is ready and taken last
SELECT priority FROM waiting WHERE queue = ? AND shelf = 0 ORDER BY priority DESC LIMIT 1;

-- name: oldest
-- queue, priority, limit -> the oldest that are ready (one priority at a time: two directions of order are a sort)
SELECT w.place, w.message, m.payload FROM waiting AS w CROSS JOIN messages AS m ON m.id = w.message
WHERE w.queue = ? AND w.shelf = 0 AND w.priority = ? ORDER BY w.place LIMIT ?;

-- name: no_longer_waits
-- queue, priority, place
DELETE FROM waiting WHERE queue = ? AND shelf = 0 AND priority = ? AND place = ?;

-- ---- a turn -----------------------------------------------------------------------------------------------------

-- name: leased
-- consumer -> its queues, each with the newest revision of the revocations: this is read in every turn
SELECT queue, (SELECT max(revision) FROM revoked) FROM leases WHERE consumer = ?;

-- name: holdings
-- consumer -> what it holds, in the order of its receipts
SELECT receipt, queue, shelf, priority, place, message, strikes FROM held WHERE consumer = ? ORDER BY receipt;

-- name: let_go
-- consumer, receipt
DELETE FROM held WHERE consumer = ? AND receipt = ?;

-- name: erase_message
DELETE FROM messages WHERE id = ?;

-- name: bury
-- queue, message, priority, strikes, since, reason, detail, task, task_id
INSERT INTO dead (queue, message, priority, strikes, since, reason, detail, task, task_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id;

-- name: bury_more
-- id, queue, traceback, past, requeues, history, again
INSERT INTO dead_more (id, queue, traceback, past, requeues, history, again) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: struck
-- message -> what struck it
SELECT history FROM struck WHERE message = ?;

-- name: strike
-- message, history
INSERT INTO struck (message, history) VALUES (?1, ?2) ON CONFLICT (message) DO UPDATE SET history = ?2;

-- name: unstrike
DELETE FROM struck WHERE message = ? RETURNING history;

-- name: unstruck
DELETE FROM struck WHERE message = ?;

-- name: head
-- queue, shelf -> priority of what is taken next
SELECT priority FROM waiting WHERE queue = ? AND shelf = ? ORDER BY priority LIMIT 1;

-- name: next
-- queue, shelf, priority, limit -> what is taken next, down to this priority
SELECT w.priority, w.place, w.message, w.strikes, m.payload
FROM waiting AS w CROSS JOIN messages AS m ON m.id = w.message
WHERE w.queue = ? AND w.shelf = ? AND w.priority <= ?
ORDER BY w.priority, w.place
LIMIT ?;

-- name: taken
-- queue, shelf, priority, place: no longer waits, nor does anything before it
DELETE FROM waiting WHERE queue = ? AND shelf = ? AND (priority, place) <= (?, ?);

-- name: hold
-- consumer, receipt, queue, shelf, priority, place, message, strikes
INSERT INTO held (consumer, receipt, queue, shelf, priority, place, message, strikes) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: payload
SELECT payload FROM messages WHERE id = ?;

-- name: last_number
SELECT last FROM numbers;

-- ---- leases -----------------------------------------------------------------------------------------------------

-- name: enlist
-- consumer, queue
INSERT OR IGNORE INTO leases (consumer, queue, counter) VALUES (?, ?, 1);

-- name: renew
-- consumer, queue
UPDATE leases SET counter = counter + 1 WHERE consumer = ? AND queue = ?;

-- name: end_lease
-- consumer, queue
DELETE FROM leases WHERE consumer = ? AND queue = ?;

-- name: counters
SELECT consumer, queue, counter FROM leases;

-- ---- upkeep -----------------------------------------------------------------------------------------------------

-- name: next_due
SELECT due FROM delayed WHERE queue = ? ORDER BY due LIMIT 1;

-- name: due
-- queue, instant, limit -> the soonest that are due
SELECT due, message, priority, strikes FROM delayed WHERE queue = ? AND due <= ? ORDER BY due, message LIMIT ?;

-- name: promoted
-- queue, due, message: no longer put off, nor is anything before it
DELETE FROM delayed WHERE queue = ? AND (due, message) <= (?, ?);

-- name: reservable
-- queue, most
SELECT count(*) FROM (SELECT 1 FROM waiting WHERE queue = ? AND shelf IN (0, 1) LIMIT ?);

-- name: listen
-- topic, address
INSERT OR IGNORE INTO listeners (topic, address) VALUES (?, ?);

-- name: listening
-- address -> topics
SELECT topic FROM listeners WHERE address = ?;

-- name: deaf
DELETE FROM listeners WHERE address = ?;

-- ---- revocations ------------------------------------------------------------------------------------------------

-- name: newest_revision
SELECT max(revision) FROM revoked;

-- name: unrevoke
DELETE FROM revoked WHERE name = ?;

-- name: revoke
-- revision, name, entry
INSERT INTO revoked (revision, name, entry) VALUES (?, ?, ?);

-- name: outdated
-- revision: forget what is older
DELETE FROM revoked WHERE revision < ?;

-- name: surplus
-- number: forget that many, the oldest
DELETE FROM revoked WHERE revision IN (SELECT revision FROM revoked ORDER BY revision LIMIT ?);

-- name: revocations
-- revision -> what is newer
SELECT revision, entry FROM revoked WHERE revision > ? ORDER BY revision;

-- ---- bounds -----------------------------------------------------------------------------------------------------

-- name: tally
-- name, by how much -> the total
INSERT INTO tallies (name, total) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET total = total + ?2 RETURNING total;

-- name: tally_known
-- by how much, name -> the total, if there is one
UPDATE tallies SET total = total + ? WHERE name = ? RETURNING total;

-- name: too_many
-- most -> queues that have more dead letters
SELECT name, total FROM tallies WHERE name >= 'dead:' AND name < 'dead;' AND total > ?;

-- ---- looking and tidying ----------------------------------------------------------------------------------------

-- name: count_waiting
SELECT shelf, count(*) FROM waiting WHERE queue = ? GROUP BY shelf;

-- name: count_delayed
SELECT count(*) FROM delayed WHERE queue = ?;

-- name: count_held
SELECT count(*) FROM held WHERE queue = ?;

-- name: count_dead
SELECT count(*) FROM dead WHERE queue = ?;

-- name: count_shelf
-- queue, shelf
SELECT count(*) FROM waiting WHERE queue = ? AND shelf = ?;

-- name: purge_waiting
-- queue, limit -> messages to erase
DELETE FROM waiting WHERE queue = ?1 AND (shelf, priority, place) IN
    (SELECT shelf, priority, place FROM waiting WHERE queue = ?1 LIMIT ?2)
RETURNING message;

-- name: purge_delayed
-- queue, limit -> messages to erase
DELETE FROM delayed WHERE queue = ?1 AND (due, message) IN
    (SELECT due, message FROM delayed WHERE queue = ?1 LIMIT ?2)
RETURNING message;

-- name: peek
-- queue, shelf, limit
SELECT m.payload FROM waiting AS w CROSS JOIN messages AS m ON m.id = w.message
WHERE w.queue = ? AND w.shelf = ? ORDER BY w.priority, w.place LIMIT ?;

-- name: delayed
-- queue, limit
SELECT d.due, m.payload FROM delayed AS d CROSS JOIN messages AS m ON m.id = d.message
WHERE d.queue = ? ORDER BY d.due, d.message LIMIT ?;

-- ---- dead letters -----------------------------------------------------------------------------------------------

-- name: dead_letters
-- queue, since and id of the last that was seen, newer, older, limit -> the newest
SELECT d.id, m.payload, d.reason, d.detail, d.task, d.task_id, d.since, d.strikes,
    x.traceback, x.history, x.requeues, x.again
FROM dead AS d CROSS JOIN messages AS m ON m.id = d.message LEFT JOIN dead_more AS x ON x.id = d.id
WHERE d.queue = ? AND (d.since, d.id) < (?, ?) AND d.since >= ? AND d.since < ?
ORDER BY d.since DESC, d.id DESC LIMIT ?;

-- name: dead_letter
-- id, queue
SELECT d.id, m.payload, d.reason, d.detail, d.task, d.task_id, d.since, d.strikes,
    x.traceback, x.history, x.requeues, x.again
FROM dead AS d CROSS JOIN messages AS m ON m.id = d.message LEFT JOIN dead_more AS x ON x.id = d.id
WHERE d.id = ? AND d.queue = ?;

-- name: unbury
-- id, queue
DELETE FROM dead WHERE id = ? AND queue = ? RETURNING message, priority, since, reason, task_id;

-- name: unbury_more
DELETE FROM dead_more WHERE id = ? RETURNING past, requeues, history;

-- name: forget_more
DELETE FROM dead_more WHERE id = ?;

-- name: purge_dead
-- id, queue
DELETE FROM dead WHERE id = ? AND queue = ? RETURNING id, message;

-- name: surplus_dead
-- queue, number: the oldest
DELETE FROM dead WHERE id IN (SELECT id FROM dead WHERE queue = ? ORDER BY since, id LIMIT ?) RETURNING id, message;

-- name: expired_dead
-- instant, limit
DELETE FROM dead WHERE id IN (SELECT id FROM dead WHERE since < ? ORDER BY since LIMIT ?) RETURNING id, message, queue;

-- name: next_chance
SELECT again FROM dead_more WHERE queue = ? AND again IS NOT NULL ORDER BY again LIMIT 1;

-- name: chances
-- queue, instant, limit
SELECT id FROM dead_more WHERE queue = ? AND again IS NOT NULL AND again <= ? ORDER BY again LIMIT ?;

-- name: edit_message
-- payload, id of the dead letter
UPDATE messages SET payload = ? WHERE id = (SELECT message FROM dead WHERE id = ?);

-- name: edit_more
-- id, queue, past, history
INSERT INTO dead_more (id, queue, traceback, past, requeues, history) VALUES (?1, ?2, '', ?3, 0, ?4)
ON CONFLICT (id) DO UPDATE SET past = ?3, history = ?4;

-- name: past
-- name -> how often upkeep has sent it again, what happened
SELECT requeues, history FROM past WHERE name = ?;

-- name: forget_past
DELETE FROM past WHERE name = ?;

-- name: remember_past
-- name, since, requeues, history
INSERT INTO past (name, since, requeues, history) VALUES (?, ?, ?, ?);

-- name: surplus_past
-- number: the oldest
DELETE FROM past WHERE name IN (SELECT name FROM past ORDER BY since LIMIT ?);

-- name: expired_past
-- instant, limit
DELETE FROM past WHERE name IN (SELECT name FROM past WHERE since < ? ORDER BY since LIMIT ?);
