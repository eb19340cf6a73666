-- The tool calls of a run that have an id, by the steps that asked for them.
SELECT tool_call_id, tool_name, requesting_step
FROM tool_calls
WHERE tenant = $tenant AND run_id = $run_id AND tool_call_id IS NOT NULL
ORDER BY position;
