-- Tools as they were offered to models (by their definition) and called, the latest change first. A tool whose definition
-- nobody sent is here by its calls alone. Calls are those of tools of the same name in the runs of the same service.
WITH sets AS (
    SELECT
        service_name,
        agent_name,
        tool_definitions,
        min(CASE WHEN start_ns = 0 THEN received_ns ELSE start_ns END) AS first_ns,
        max(CASE WHEN start_ns = 0 THEN received_ns ELSE start_ns END) AS last_ns,
        count(*) FILTER (revision = 1) AS steps
    FROM step_versions
    WHERE tenant = $tenant AND tool_definitions IS NOT NULL
    GROUP BY service_name, agent_name, tool_definitions
),
pieces AS (
    SELECT service_name, agent_name, unnest(tool_definitions) AS hash, first_ns, last_ns, steps FROM sets
),
offered AS (
    SELECT
        service_name,
        agent_name,
        hash,
        min(first_ns) AS first_ns,
        max(last_ns) AS last_ns,
        sum(steps)::BIGINT AS steps
    FROM pieces
    GROUP BY service_name, agent_name, hash
),
texts AS (
    SELECT content_id AS hash, any_value(text) AS text
    FROM contents
    WHERE tenant = $tenant AND content_id IN (SELECT hash FROM offered)
    GROUP BY content_id
),
defined AS (
    SELECT
        offered.*,
        texts.text,
        try(coalesce(text ->> '$.function.name', text ->> '$.toolSpec.name', text ->> '$.name')) AS tool_name
    FROM offered
    LEFT JOIN texts USING (hash)
),
called AS (
    SELECT
        runs.service_name,
        tool_calls.tool_name,
        list_sort(list(DISTINCT mcp_server) FILTER (mcp_server IS NOT NULL)) AS mcp_servers,
        list_sort(list(DISTINCT tool_source) FILTER (tool_source IS NOT NULL)) AS tool_sources,
        CASE WHEN count(DISTINCT runs.agent_name) = 1 THEN min(runs.agent_name) END AS agent_name,
        min(coalesce(nullif(requested_ns, 0), nullif(started_ns, 0), runs.start_ns)) AS first_ns,
        max(coalesce(nullif(started_ns, 0), nullif(requested_ns, 0), runs.start_ns)) AS last_ns,
        count(*) AS calls
    FROM tool_calls
    JOIN runs ON runs.tenant = $tenant AND runs.run_id = tool_calls.run_id
    WHERE tool_calls.tenant = $tenant AND tool_calls.tool_name IS NOT NULL
    GROUP BY runs.service_name, tool_calls.tool_name
),
tools AS (
    SELECT
        coalesce(defined.tool_name, called.tool_name) AS tool_name,
        coalesce(defined.service_name, called.service_name) AS service_name,
        CASE WHEN defined.hash IS NULL THEN called.agent_name ELSE defined.agent_name END AS agent_name,
        defined.hash,
        defined.text,
        called.mcp_servers,
        called.tool_sources,
        coalesce(defined.first_ns, called.first_ns) AS first_ns,
        coalesce(defined.last_ns, called.last_ns) AS last_ns,
        coalesce(defined.steps, 0) AS steps,
        coalesce(called.calls, 0) AS calls
    FROM defined
    FULL JOIN called
        ON defined.tool_name = called.tool_name AND defined.service_name IS NOT DISTINCT FROM called.service_name
),
changes AS (
    SELECT
        *,
        substr(sha256(concat_ws(chr(31), coalesce(tool_name, chr(30)), coalesce(service_name, chr(30)),
                                coalesce(agent_name, chr(30)), coalesce(hash, chr(30)))), 1, 32) AS id,
        row_number() OVER earlier AS revision,
        lag(hash) OVER earlier AS previous_hash
    FROM tools
    WINDOW earlier AS (PARTITION BY tool_name, service_name, agent_name ORDER BY first_ns, hash)
)
SELECT * FROM changes
WHERE ($tool IS NULL OR tool_name = $tool)
  AND ($service IS NULL OR service_name = $service)
  AND ($agent IS NULL OR agent_name = $agent)
  AND ($mcp_server IS NULL OR list_contains(mcp_servers, $mcp_server))
  AND ($before_ns IS NULL OR (first_ns, id) < ($before_ns, $before_id))
ORDER BY first_ns DESC, id DESC
LIMIT $limit;
