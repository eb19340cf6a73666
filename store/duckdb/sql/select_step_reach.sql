-- How far some steps behind a start reach, and whether there are that many up to a limit in time.
SELECT max(start_ns) AS reach_ns, count(*) AS steps
FROM (
    SELECT start_ns FROM trace_steps($tenant, $trace_id, $first_sequence, $last_sequence)
    WHERE start_ns > $behind_ns AND start_ns <= $limit_ns
    ORDER BY start_ns
    LIMIT $wanted
);
