-- The segments of some traces, with what joining needs to know.
SELECT tenant, trace_id, segment_id, run_id, conversation_id, start_ns, first_sequence, last_sequence, shares, leaves, takes
FROM segments
WHERE trace_id IN (SELECT unnest($trace_ids));
