SELECT position FROM tool_calls WHERE tenant = $tenant AND run_id = $run_id AND tool_call_key = $tool_call_key;
