-- The current steps of one trace, in no order. The range of sequence numbers lets row groups be skipped, and is what was
-- known at its end: a version, or what superseded one, beyond it is not looked at. `place` is the row's: versions never move.
CREATE MACRO IF NOT EXISTS trace_steps(of_tenant, of_trace, first_seen, last_seen) AS TABLE
SELECT versions.rowid AS place, versions.*
FROM step_versions AS versions
ANTI JOIN (
    SELECT span_id, revision FROM superseded
    WHERE tenant = of_tenant AND trace_id = of_trace AND sequence BETWEEN first_seen AND last_seen
) AS gone USING (span_id, revision)
WHERE versions.tenant = of_tenant AND versions.trace_id = of_trace AND versions.sequence BETWEEN first_seen AND last_seen;
