-- When a trace began and ended, its root, and the start of its last steps.
SELECT
    min(start_ns) FILTER (start_ns <> 0) AS begun_ns,
    max(end_ns) AS ended_ns,
    max(start_ns) AS last_start_ns,
    arg_min(span_id, (start_ns, span_id)) FILTER (parent_span_id IS NULL) AS root
FROM trace_steps($tenant, $trace_id, $first_sequence, $last_sequence);
