-- Runs counted by up to two of their properties; totals are those of leaves, as the runs have them.
WITH seen AS (
    SELECT *,
        CASE
            WHEN open_reason IS NULL THEN status
            WHEN $now_ns - least(last_received_ns, last_event_ns + $skew_ns) < $idle_ns THEN 'running'
            WHEN open_reason = 'missing_root' THEN 'incomplete'
            ELSE 'abandoned'
        END AS status_now,
        CASE WHEN start_ns > 0 THEN strftime(make_timestamp(start_ns // 3600000000000 * 3600000000), '%Y-%m-%dT%H:00:00Z')
        END AS hour,
        CASE WHEN start_ns > 0 AND end_ns > 0 THEN greatest(end_ns - start_ns, 0) END AS duration_ns
    FROM runs
    WHERE tenant = $tenant
),
keyed AS (
    SELECT *,
        CASE $first WHEN 'agent' THEN agent_name WHEN 'service' THEN service_name WHEN 'version' THEN service_version
                    WHEN 'status' THEN status_now WHEN 'hour' THEN hour END AS first_key,
        CASE $second WHEN 'agent' THEN agent_name WHEN 'service' THEN service_name WHEN 'version' THEN service_version
                     WHEN 'status' THEN status_now WHEN 'hour' THEN hour END AS second_key
    FROM seen
    WHERE ($agent IS NULL OR agent_name = $agent)
      AND ($service IS NULL OR service_name = $service)
      AND ($tool IS NULL OR list_contains(tools, $tool))
      AND ($since_ns IS NULL OR start_ns >= $since_ns)
      AND ($until_ns IS NULL OR start_ns < $until_ns)
)
SELECT
    first_key,
    second_key,
    count(*) AS runs,
    count(*) FILTER (status_now = 'error') AS errors,
    count(*) FILTER (status_now = 'denied') AS denials,
    count(*) FILTER (status_now = 'error') / count(*) AS error_rate,
    count(*) FILTER (status_now = 'denied') / count(*) AS denial_rate,
    sum(steps)::BIGINT AS steps,
    sum(llm_calls)::BIGINT AS llm_calls,
    sum(tool_calls)::BIGINT AS tool_calls,
    sum(tool_errors)::BIGINT AS tool_errors,
    sum(input_tokens)::BIGINT AS input_tokens,
    sum(output_tokens)::BIGINT AS output_tokens,
    sum(reasoning_tokens)::BIGINT AS reasoning_tokens,
    sum(reasoning_tokens) FILTER (output_tokens > 0)
        / nullif(sum(output_tokens) FILTER (reasoning_tokens IS NOT NULL), 0) AS reasoning_share,
    sum(cost_usd) AS cost_usd,
    quantile_disc(duration_ns, 0.5) AS duration_p50_ns,
    quantile_disc(duration_ns, 0.95) AS duration_p95_ns,
    quantile_disc(duration_ns, 0.99) AS duration_p99_ns
FROM keyed
GROUP BY first_key, second_key
ORDER BY runs DESC, first_key NULLS LAST, second_key NULLS LAST
LIMIT $limit;
