DELETE FROM tool_calls WHERE run_id IN (SELECT unnest($run_ids));
