-- Every trace that has a segment, or a log record that speaks for a step of it (see select_trace_events.sql).
SELECT tenant, trace_id FROM segments
UNION ALL
SELECT DISTINCT tenant, trace_id FROM events
WHERE trace_id IS NOT NULL
  AND (input_messages IS NOT NULL OR output_messages IS NOT NULL OR system_instructions IS NOT NULL
       OR verdicts IS NOT NULL OR tool_definitions IS NOT NULL OR tool_requests IS NOT NULL
       OR cost_usd IS NOT NULL);
