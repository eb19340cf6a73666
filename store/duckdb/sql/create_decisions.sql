-- One row a decision; reason is a content id.
CREATE TABLE IF NOT EXISTS decisions (
    tenant VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    decision_id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    target VARCHAR,
    tool_call_key VARCHAR,
    tool_call_id VARCHAR,
    verdict VARCHAR NOT NULL,
    action VARCHAR NOT NULL,
    decided_by_kind VARCHAR,
    decided_by VARCHAR,
    reason VARCHAR,
    requested_ns BIGINT NOT NULL,
    decided_ns BIGINT NOT NULL,
    wait_ns BIGINT,
    request_step VARCHAR,
    decide_step VARCHAR,
    evidence VARCHAR NOT NULL,
    evidence_rule VARCHAR NOT NULL,
    position INTEGER NOT NULL
);
