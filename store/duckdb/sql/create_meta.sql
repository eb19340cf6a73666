-- What this view is of, and how far it is: one row.
CREATE TABLE IF NOT EXISTS meta (
    schema_version INTEGER NOT NULL,
    normaliser_version INTEGER NOT NULL,
    journal_id VARCHAR NOT NULL,
    sequence BIGINT NOT NULL
);
