DELETE FROM decisions WHERE run_id IN (SELECT unnest($run_ids));
