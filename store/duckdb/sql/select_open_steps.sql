-- Steps of some traces of which only the beginning was sent. What was recorded before the traces began is not looked at.
SELECT trace_id, span_id, parent_span_id, kind, name, start_ns FROM current_steps
WHERE tenant = $tenant
  AND sequence >= $first_sequence
  AND end_ns = 0 AND start_ns > 0
  AND trace_id IN (SELECT unnest($trace_ids));
