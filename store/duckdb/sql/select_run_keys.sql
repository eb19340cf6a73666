-- What puts the steps of some traces in order, and what each of them marks (see select_trace_marks.sql).
SELECT
    versions.rowid AS place, trace_id, span_id, parent_span_id, start_ns, end_ns, kind, outcome, service_name,
    coalesce(input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens) IS NOT NULL AS used,
    agent_name, truncated, redacted, input_tokens, output_tokens, cost_usd, cost_source
FROM step_versions AS versions
ANTI JOIN (
    SELECT trace_id, span_id, revision FROM superseded
    WHERE tenant = $tenant AND sequence BETWEEN $first_sequence AND $last_sequence
) AS gone USING (trace_id, span_id, revision)
WHERE tenant = $tenant AND sequence BETWEEN $first_sequence AND $last_sequence
  AND trace_id IN (SELECT unnest($trace_ids));
