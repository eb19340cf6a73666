-- From which start to which one the steps of a trace carry messages, or with $noted tell something by themselves.
SELECT min(start_ns) AS first_ns, max(start_ns) AS last_ns
FROM trace_steps($tenant, $trace_id, $first_sequence, $last_sequence)
WHERE input_messages IS NOT NULL OR output_messages IS NOT NULL OR system_instructions IS NOT NULL
   OR (particulars IS NOT NULL AND kind IN ('agent', 'workflow'))
   OR ($noted AND (kind = 'agent' OR outcome = 'error'));
