-- A run's tool calls in their order, behind a place.
SELECT * FROM tool_calls
WHERE tenant = $tenant AND run_id = $run_id AND position > $behind
ORDER BY position
LIMIT $limit;
