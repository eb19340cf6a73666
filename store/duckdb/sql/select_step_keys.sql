-- What puts steps in order, and where the rest of them stands: every step of some starts.
SELECT place, span_id, parent_span_id, start_ns, end_ns, kind, outcome, service_name
FROM trace_steps($tenant, $trace_id, $first_sequence, $last_sequence)
WHERE start_ns BETWEEN $low_ns AND $reach_ns;
