-- Versions that are no longer current. Revisions are rare, so saying which rows are out is cheaper than rewriting them.
CREATE TABLE IF NOT EXISTS superseded (
    tenant VARCHAR NOT NULL,
    trace_id VARCHAR NOT NULL,
    span_id VARCHAR NOT NULL,
    revision INTEGER NOT NULL,
    sequence BIGINT NOT NULL
);
