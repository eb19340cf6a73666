SELECT span_id, parent_span_id FROM trace_steps($tenant, $trace_id, $first_sequence, $last_sequence);
