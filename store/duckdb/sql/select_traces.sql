-- The segments of traces that a batch touches.
SELECT tenant, trace_id, first_sequence, last_sequence
FROM segments
WHERE trace_id IN (SELECT unnest($trace_ids));
