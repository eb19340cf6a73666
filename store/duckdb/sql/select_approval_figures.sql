-- Decisions counted by up to two of their properties; one that asks and was not answered is pending.
WITH decided AS (
    SELECT
        decisions.*,
        runs.agent_name,
        runs.service_name,
        runs.service_version,
        coalesce(nullif(decisions.requested_ns, 0), nullif(decisions.decided_ns, 0), runs.start_ns) AS at_ns
    FROM decisions
    JOIN runs ON runs.tenant = $tenant AND runs.run_id = decisions.run_id
    WHERE decisions.tenant = $tenant
),
timed AS (
    SELECT *,
        CASE WHEN at_ns > 0 THEN strftime(make_timestamp(at_ns // 3600000000000 * 3600000000), '%Y-%m-%dT%H:00:00Z')
        END AS hour
    FROM decided
),
keyed AS (
    SELECT *,
        CASE $first WHEN 'agent' THEN agent_name WHEN 'service' THEN service_name WHEN 'version' THEN service_version
                    WHEN 'tool' THEN target WHEN 'kind' THEN kind WHEN 'hour' THEN hour END AS first_key,
        CASE $second WHEN 'agent' THEN agent_name WHEN 'service' THEN service_name WHEN 'version' THEN service_version
                     WHEN 'tool' THEN target WHEN 'kind' THEN kind WHEN 'hour' THEN hour END AS second_key
    FROM timed
    WHERE ($agent IS NULL OR agent_name = $agent)
      AND ($service IS NULL OR service_name = $service)
      AND ($tool IS NULL OR target = $tool)
      AND ($since_ns IS NULL OR at_ns >= $since_ns)
      AND ($until_ns IS NULL OR at_ns < $until_ns)
)
SELECT
    first_key,
    second_key,
    count(*) AS decisions,
    count(*) FILTER (verdict = 'allow') AS allowed,
    count(*) FILTER (verdict = 'deny') AS denied,
    count(*) FILTER (verdict = 'ask') AS pending,
    count(*) FILTER (verdict = 'deny') / nullif(count(*) FILTER (verdict <> 'ask'), 0) AS denial_rate,
    quantile_disc(wait_ns, 0.5) AS wait_p50_ns,
    quantile_disc(wait_ns, 0.95) AS wait_p95_ns,
    max(wait_ns) AS wait_max_ns
FROM keyed
GROUP BY first_key, second_key
ORDER BY decisions DESC, first_key NULLS LAST, second_key NULLS LAST
LIMIT $limit;
