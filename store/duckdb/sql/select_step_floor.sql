-- The earliest moment of the steps behind a start. A clock can lie: a step may end before it starts.
SELECT min(CASE WHEN end_ns = 0 THEN start_ns ELSE least(start_ns, end_ns) END) AS floor_ns
FROM trace_steps($tenant, $trace_id, $first_sequence, $last_sequence)
WHERE start_ns > $behind_ns;
