-- One step with everything its span said.
SELECT * FROM trace_steps($tenant, $trace_id, $first_sequence, $last_sequence) WHERE span_id = $span_id;
