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
