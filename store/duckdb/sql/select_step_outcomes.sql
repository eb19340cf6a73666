-- How steps of some runs ended where their tool calls show that it is not as they say themselves.
SELECT step_outcomes FROM tool_calls
WHERE tenant = $tenant AND step_outcomes IS NOT NULL AND run_id IN (SELECT unnest($run_ids));
