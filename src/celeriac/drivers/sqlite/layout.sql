-- The tables of a celeriac file, layout 1. `database.py` runs this once, in the transaction that makes the file ours
-- (application_id "celr", user_version = the layout's number).
--
-- A message is written once, into `messages`; what moves while it waits, is put off or runs are the small rows that
-- name it. Every message has exactly one of them: in waiting, delayed, held or dead.
-- Instants are seconds since the epoch by this machine's clock.

CREATE TABLE queues (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

-- One row: the last number given to a message (and its place), to a delivery (its receipt) or to a stored result. Numbers are
-- never given twice, so that a late settlement meets nothing and a watch misses nothing.
CREATE TABLE numbers (
    last INTEGER NOT NULL
);
INSERT INTO numbers VALUES (0);

CREATE TABLE messages (
    id      INTEGER PRIMARY KEY,
    payload BLOB NOT NULL
);

-- shelf: 0 ready, 1 suspect, 2 quarantine. The key is the order of taking; a place is kept as long as the message comes
-- back from a consumer.
CREATE TABLE waiting (
    queue    INTEGER NOT NULL,
    shelf    INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    place    INTEGER NOT NULL,
    message  INTEGER NOT NULL,
    strikes  INTEGER NOT NULL,
    PRIMARY KEY (queue, shelf, priority, place)
) WITHOUT ROWID;

CREATE TABLE delayed (
    queue    INTEGER NOT NULL,
    due      REAL NOT NULL,
    message  INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    strikes  INTEGER NOT NULL,
    PRIMARY KEY (queue, due, message)
) WITHOUT ROWID;

-- In flight. shelf, priority, place: where it was taken from, and where a give-back returns it to.
CREATE TABLE held (
    consumer TEXT NOT NULL,
    receipt  INTEGER NOT NULL,
    queue    INTEGER NOT NULL,
    shelf    INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    place    INTEGER NOT NULL,
    message  INTEGER NOT NULL,
    strikes  INTEGER NOT NULL,
    PRIMARY KEY (consumer, receipt)
) WITHOUT ROWID;

CREATE TABLE leases (
    consumer TEXT NOT NULL,
    queue    INTEGER NOT NULL,
    counter  INTEGER NOT NULL,
    PRIMARY KEY (consumer, queue)
) WITHOUT ROWID;

CREATE TABLE dead (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    queue    INTEGER NOT NULL,
    message  INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    strikes  INTEGER NOT NULL,
    since    REAL NOT NULL,
    reason   TEXT NOT NULL,
    detail   TEXT NOT NULL,
    task     TEXT NOT NULL,
    task_id  TEXT NOT NULL
);
CREATE INDEX dead_of_queue ON dead (queue, since);

-- id: grows with every write, so that a watch reads on from where it was. A document that is replaced gets a new one.
-- task_id: 16 bytes where it is a UUID, else text.
CREATE TABLE results (
    id       INTEGER PRIMARY KEY,
    task_id  BLOB NOT NULL UNIQUE,
    final    INTEGER NOT NULL,
    expires  REAL,
    document BLOB NOT NULL
);

-- Who is to be sent a datagram. topic: `results`, or `queue:` and its name. address: as `bell.py` makes it.
CREATE TABLE listeners (
    topic   TEXT NOT NULL,
    address TEXT NOT NULL,
    PRIMARY KEY (topic, address)
) WITHOUT ROWID;
