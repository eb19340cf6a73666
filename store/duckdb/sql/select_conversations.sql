-- Every segment of the conversations that a batch touches.
SELECT tenant, trace_id, segment_id, run_id, conversation_id, start_ns, first_sequence, last_sequence, pending, handled
FROM segments
WHERE conversation_id IN (SELECT unnest($conversation_ids));
