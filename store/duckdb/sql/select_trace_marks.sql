-- The steps of a trace that are agents, carry usage (`used`) or were cut or redacted, in the order in which usage counts.
-- `unreported`: a log record may say what it cost (see store.model.paid).
SELECT
    span_id,
    coalesce(input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens) IS NOT NULL AS used,
    kind = 'agent' AS agent,
    truncated,
    redacted,
    kind IN ('llm', 'embedding', 'rerank') AND cost_source IS DISTINCT FROM 'reported' AS unreported,
    agent_name,
    CASE WHEN end_ns = 0 THEN start_ns ELSE end_ns END AS at_ns,
    coalesce(input_tokens, 0) AS input_tokens,
    coalesce(output_tokens, 0) AS output_tokens,
    coalesce(cost_usd, 0.0) AS cost_usd
FROM trace_steps($tenant, $trace_id, $first_sequence, $last_sequence)
WHERE kind = 'agent'
   OR truncated
   OR redacted
   OR coalesce(input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens) IS NOT NULL
ORDER BY at_ns, place;
