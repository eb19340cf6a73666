SELECT trace_id, run_id FROM segments WHERE tenant = $tenant AND trace_id IN (SELECT unnest($trace_ids));
