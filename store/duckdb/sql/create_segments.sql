-- One row a trace: the run it belongs to, and what joining needs to know of it.
CREATE TABLE IF NOT EXISTS segments (
    tenant VARCHAR NOT NULL,
    trace_id VARCHAR NOT NULL,
    segment_id VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    segment_no INTEGER NOT NULL,
    conversation_id VARCHAR,
    start_ns BIGINT NOT NULL,
    first_sequence BIGINT NOT NULL,
    last_sequence BIGINT NOT NULL,
    shares BIGINT[],
    leaves BIGINT[],
    takes BIGINT[],
    continues VARCHAR,
    rule VARCHAR
);
