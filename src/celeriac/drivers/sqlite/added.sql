-- What layout 1 got after its first files had been written. `database.py` runs this in one transaction where one of these
-- tables is missing; every statement is safe to repeat.

-- revision: microseconds since the epoch, each higher than the one before. name: see `brokers/revocation.py`.
CREATE TABLE IF NOT EXISTS revoked (
    revision INTEGER PRIMARY KEY,
    name     TEXT NOT NULL UNIQUE,
    entry    BLOB NOT NULL
);

-- How many rows there are of something that is bounded, so that no step has to count them. name: `revoked`.
CREATE TABLE IF NOT EXISTS tallies (
    name  TEXT PRIMARY KEY,
    total INTEGER NOT NULL
) WITHOUT ROWID;

-- When a message that has strikes got them; see `brokers/history.py` for such texts.
CREATE TABLE IF NOT EXISTS struck (
    message INTEGER PRIMARY KEY,
    history TEXT NOT NULL
);

-- The rest of a row of `dead`, under its id. past: under which name the history goes on once it is sent again.
-- again: when upkeep sends it again.
CREATE TABLE IF NOT EXISTS dead_more (
    id        INTEGER PRIMARY KEY,
    queue     INTEGER NOT NULL,
    traceback TEXT NOT NULL,
    past      TEXT NOT NULL,
    requeues  INTEGER NOT NULL,
    history   TEXT NOT NULL,
    again     REAL
);
CREATE INDEX IF NOT EXISTS dead_again ON dead_more (queue, again) WHERE again IS NOT NULL;
CREATE INDEX IF NOT EXISTS dead_since ON dead (since);

-- What happened to tasks that were dead and are in their queue again.
CREATE TABLE IF NOT EXISTS past (
    name     TEXT PRIMARY KEY,
    since    REAL NOT NULL,
    requeues INTEGER NOT NULL,
    history  TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS past_since ON past (since);

-- Chords whose members are counted. name: 16 bytes where it is a UUID, else text; NULL: forgotten, and erased by upkeep.
-- size: how many members complete it. counted: how many have ended. id: never given twice.
CREATE TABLE IF NOT EXISTS chords (
    id      INTEGER PRIMARY KEY,
    name    BLOB UNIQUE,
    size    INTEGER NOT NULL,
    counted INTEGER NOT NULL,
    expires REAL
);
CREATE INDEX IF NOT EXISTS chords_expire ON chords (expires) WHERE expires IS NOT NULL;

-- Members that have ended, each once. task_id: as in `results`.
CREATE TABLE IF NOT EXISTS parts (
    id       INTEGER PRIMARY KEY,
    chord    INTEGER NOT NULL,
    task_id  BLOB NOT NULL,
    place    INTEGER NOT NULL,
    document BLOB NOT NULL,
    UNIQUE (chord, task_id)
);
