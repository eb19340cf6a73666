-- The model calls of a trace that gave some responses.
SELECT response_id, span_id, start_ns
FROM trace_steps($tenant, $trace_id, $first_sequence, $last_sequence)
WHERE kind = 'llm' AND response_id IN (SELECT unnest($response_ids));
