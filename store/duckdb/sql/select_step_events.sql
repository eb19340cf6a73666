-- The log records that may speak for some steps: they name the span, or the response of its model.
SELECT * FROM events
WHERE tenant = $tenant AND trace_id IN (SELECT unnest($trace_ids)) AND sequence <= $until
  AND (span_id IN (SELECT unnest($span_ids::VARCHAR[])) OR response_id IN (SELECT unnest($response_ids::VARCHAR[])))
  AND (input_messages IS NOT NULL OR output_messages IS NOT NULL OR system_instructions IS NOT NULL
       OR verdicts IS NOT NULL OR tool_definitions IS NOT NULL OR tool_requests IS NOT NULL
       OR cost_usd IS NOT NULL)
ORDER BY sequence, ordinal;
