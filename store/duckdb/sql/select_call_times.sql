-- A run's tool calls by the first moment that is told of each.
WITH calls AS (
    SELECT
        * EXCLUDE (tenant, run_id),
        coalesce(nullif(ended_ns, 0), nullif(answered_ns, 0), nullif(started_ns, 0), requested_ns) AS told_ns
    FROM tool_calls
    WHERE tenant = $tenant AND run_id = $run_id
)
SELECT
    *,
    least(told_ns, coalesce(nullif(requested_ns, 0), told_ns), coalesce(nullif(started_ns, 0), told_ns)) AS first_ns
FROM calls
ORDER BY first_ns, position;
