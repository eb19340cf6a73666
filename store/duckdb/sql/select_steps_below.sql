-- The children of some steps.
SELECT place, span_id, parent_span_id, start_ns, end_ns, kind, outcome, service_name
FROM trace_steps($tenant, $trace_id, $first_sequence, $last_sequence)
WHERE parent_span_id IN (SELECT unnest($span_ids));
