SELECT * FROM tool_calls WHERE tenant = $tenant AND run_id = $run_id ORDER BY position;
