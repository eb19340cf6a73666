-- Logical tool calls, each once however many spans tell of it, counted by up to two of their properties.
WITH calls AS (
    SELECT
        tool_calls.*,
        runs.agent_name,
        runs.service_name,
        runs.service_version,
        coalesce(nullif(tool_calls.started_ns, 0), nullif(tool_calls.requested_ns, 0), runs.start_ns) AS at_ns,
        CASE WHEN started_ns > 0 AND ended_ns > 0 THEN greatest(ended_ns - started_ns, 0) END AS duration_ns
    FROM tool_calls
    JOIN runs ON runs.tenant = $tenant AND runs.run_id = tool_calls.run_id
    WHERE tool_calls.tenant = $tenant
),
timed AS (
    SELECT *,
        CASE WHEN at_ns > 0 THEN strftime(make_timestamp(at_ns // 3600000000000 * 3600000000), '%Y-%m-%dT%H:00:00Z')
        END AS hour
    FROM calls
),
keyed AS (
    SELECT *,
        CASE $first WHEN 'agent' THEN agent_name WHEN 'service' THEN service_name WHEN 'version' THEN service_version
                    WHEN 'tool' THEN tool_name WHEN 'mcp_server' THEN mcp_server WHEN 'hour' THEN hour END AS first_key,
        CASE $second WHEN 'agent' THEN agent_name WHEN 'service' THEN service_name WHEN 'version' THEN service_version
                     WHEN 'tool' THEN tool_name WHEN 'mcp_server' THEN mcp_server WHEN 'hour' THEN hour END AS second_key
    FROM timed
    WHERE ($agent IS NULL OR agent_name = $agent)
      AND ($service IS NULL OR service_name = $service)
      AND ($tool IS NULL OR tool_name = $tool)
      AND ($since_ns IS NULL OR at_ns >= $since_ns)
      AND ($until_ns IS NULL OR at_ns < $until_ns)
),
counted AS (
    SELECT
        first_key,
        second_key,
        count(*) AS calls,
        count(duration_ns) AS executed,
        count(*) FILTER (outcome = 'error') AS errors,
        count(*) FILTER (outcome = 'denied') AS denials,
        count(*) FILTER (outcome = 'error') / count(*) AS error_rate,
        count(*) FILTER (outcome = 'denied') / count(*) AS denial_rate,
        quantile_disc(duration_ns, 0.5) AS duration_p50_ns,
        quantile_disc(duration_ns, 0.95) AS duration_p95_ns,
        quantile_disc(duration_ns, 0.99) AS duration_p99_ns,
        max(duration_ns) AS duration_max_ns
    FROM keyed
    GROUP BY first_key, second_key
)
SELECT * FROM counted
ORDER BY
    CASE $sort WHEN 'slowest' THEN duration_p95_ns WHEN 'failing' THEN errors ELSE calls END DESC NULLS LAST,
    first_key NULLS LAST, second_key NULLS LAST
LIMIT $limit;
