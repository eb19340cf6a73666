-- Agents as they were seen, the latest change first. An agent that has steps of its own is seen by those alone: what others
-- say of it has not its version.
WITH named AS (
    SELECT
        agent_name,
        kind,
        particulars ->> '$.agent_version' AS agent_version,
        service_name,
        service_version,
        environment,
        scope_name,
        revision,
        CASE WHEN start_ns = 0 THEN received_ns ELSE start_ns END AS seen_ns
    FROM step_versions
    WHERE tenant = $tenant AND agent_name IS NOT NULL
      AND ($agent IS NULL OR agent_name = $agent)
      AND ($service IS NULL OR service_name = $service)
),
own AS (
    SELECT DISTINCT agent_name, service_name FROM named WHERE kind = 'agent'
),
agents AS (
    SELECT
        named.agent_name,
        agent_version,
        named.service_name,
        service_version,
        environment,
        list_sort(list(DISTINCT scope_name) FILTER (scope_name IS NOT NULL)) AS frameworks,
        min(seen_ns) AS first_ns,
        max(seen_ns) AS last_ns,
        count(*) FILTER (revision = 1) AS steps
    FROM named
    LEFT JOIN own ON own.agent_name = named.agent_name AND own.service_name IS NOT DISTINCT FROM named.service_name
    WHERE kind = 'agent' OR own.agent_name IS NULL
    GROUP BY named.agent_name, agent_version, named.service_name, service_version, environment
),
identified AS (
    SELECT
        *,
        substr(sha256(concat_ws(chr(31), agent_name, coalesce(agent_version, chr(30)), coalesce(service_name, chr(30)),
                                coalesce(service_version, chr(30)), coalesce(environment, chr(30)))), 1, 32) AS id
    FROM agents
)
SELECT * FROM identified
WHERE $before_ns IS NULL OR (first_ns, id) < ($before_ns, $before_id)
ORDER BY first_ns DESC, id DESC
LIMIT $limit;
