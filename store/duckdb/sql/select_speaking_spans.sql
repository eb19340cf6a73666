-- The spans of some traces for which log records speak.
SELECT DISTINCT trace_id, span_id FROM events
WHERE tenant = $tenant AND trace_id IN (SELECT unnest($trace_ids)) AND span_id IS NOT NULL
  AND (input_messages IS NOT NULL OR output_messages IS NOT NULL OR system_instructions IS NOT NULL);
