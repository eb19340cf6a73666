SELECT count(*) AS steps
FROM trace_steps($tenant, $trace_id, $first_sequence, $last_sequence)
WHERE start_ns <= $until_ns;
