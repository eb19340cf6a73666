-- Evaluation results that belong to some traces.
SELECT * FROM events
WHERE tenant = $tenant AND event_name = 'gen_ai.evaluation.result' AND trace_id IN (SELECT unnest($trace_ids))
ORDER BY time_ns, sequence, ordinal;
