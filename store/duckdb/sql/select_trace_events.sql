-- The log records of some traces that speak for a step. They may have come long before its span, so no range helps.
SELECT * FROM events
WHERE trace_id IN (SELECT unnest($trace_ids))
  AND (input_messages IS NOT NULL OR output_messages IS NOT NULL OR system_instructions IS NOT NULL
       OR verdicts IS NOT NULL OR tool_definitions IS NOT NULL OR tool_requests IS NOT NULL
       OR cost_usd IS NOT NULL)
ORDER BY sequence, ordinal;
