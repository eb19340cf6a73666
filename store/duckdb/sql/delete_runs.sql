DELETE FROM runs WHERE run_id IN (SELECT unnest($run_ids));
