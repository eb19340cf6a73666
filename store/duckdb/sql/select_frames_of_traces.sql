-- The frames, by sequence, that say something of some traces: their spans, their log records, and how they were judged, which
-- may be said of a response alone. Not behind a sequence, and as far as the rows say it not later than a time.
WITH versions AS (
    SELECT sequence, received_ns, response_id
    FROM step_versions
    WHERE tenant = $tenant
      AND trace_id IN (SELECT unnest($trace_ids))
      AND sequence >= $first_sequence
      AND sequence <= $until
)
SELECT DISTINCT sequence
FROM (
    SELECT sequence FROM versions
    WHERE received_ns <= $until_ns
    UNION ALL
    SELECT sequence FROM events
    WHERE tenant = $tenant
      AND trace_id IN (SELECT unnest($trace_ids))
      AND received_ns <= $until_ns
    UNION ALL
    SELECT sequence FROM evaluations
    WHERE tenant = $tenant
      AND (trace_id IN (SELECT unnest($trace_ids)) OR response_id IN (SELECT response_id FROM versions))
)
WHERE sequence <= $until
ORDER BY sequence
LIMIT $limit;
