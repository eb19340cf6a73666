SELECT tenant, trace_id FROM owed;
