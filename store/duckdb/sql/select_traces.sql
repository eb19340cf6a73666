-- The segments of some traces, and where their steps stand. A trace whose run is owed has newer steps than its segment says.
SELECT
    tenant,
    trace_id,
    first_sequence,
    CASE WHEN owed.trace_id IS NULL THEN last_sequence ELSE 9223372036854775807 END AS last_sequence
FROM segments
LEFT JOIN owed USING (tenant, trace_id)
WHERE trace_id IN (SELECT unnest($trace_ids));
