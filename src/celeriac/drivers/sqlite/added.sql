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
