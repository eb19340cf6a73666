-- The log records that speak for some steps.
SELECT * FROM events
WHERE tenant = $tenant AND trace_id IN (SELECT unnest($trace_ids)) AND span_id IN (SELECT unnest($span_ids))
  AND (input_messages IS NOT NULL OR output_messages IS NOT NULL OR system_instructions IS NOT NULL)
ORDER BY sequence, ordinal;
