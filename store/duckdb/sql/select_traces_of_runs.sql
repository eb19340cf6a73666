-- The traces of some runs, and the range of sequence numbers in which their steps are.
SELECT coalesce(list(trace_id), []) AS traces, coalesce(min(first_sequence), 0), coalesce(max(last_sequence), 0)
FROM view.main.segments
WHERE tenant = $tenant AND run_id IN (SELECT unnest($run_ids::VARCHAR[]));
