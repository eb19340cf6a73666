-- System prompts as they were seen, the latest change first: by agent, name and version, and by the pieces of their text.
WITH said AS (
    SELECT
        agent_name,
        service_name,
        particulars ->> '$.prompt_name' AS prompt_name,
        particulars ->> '$.prompt_version' AS prompt_version,
        coalesce(system_instructions, (particulars -> '$.system_messages')::VARCHAR[]) AS pieces,
        revision,
        CASE WHEN start_ns = 0 THEN received_ns ELSE start_ns END AS seen_ns
    FROM step_versions
    WHERE tenant = $tenant AND (system_instructions IS NOT NULL OR particulars IS NOT NULL)
    UNION ALL
    SELECT
        steps.agent_name,
        coalesce(steps.service_name, events.service_name),
        steps.particulars ->> '$.prompt_name',
        steps.particulars ->> '$.prompt_version',
        events.system_instructions,
        1,
        coalesce(nullif(events.time_ns, 0), nullif(events.observed_ns, 0), events.received_ns)
    FROM events
    LEFT JOIN current_steps AS steps
        ON steps.tenant = events.tenant AND steps.trace_id = events.trace_id AND steps.span_id = events.span_id
    -- A step that says its instructions itself is among the others already.
    WHERE events.tenant = $tenant AND events.system_instructions IS NOT NULL AND steps.system_instructions IS NULL
),
prompts AS (
    SELECT
        agent_name,
        service_name,
        prompt_name,
        prompt_version,
        pieces,
        CASE len(pieces) WHEN 1 THEN pieces[1] ELSE substr(sha256(array_to_string(pieces, ' ')), 1, 32) END AS hash,
        min(seen_ns) AS first_ns,
        max(seen_ns) AS last_ns,
        count(*) FILTER (revision = 1) AS steps
    FROM said
    WHERE pieces IS NOT NULL OR prompt_name IS NOT NULL
    GROUP BY agent_name, service_name, prompt_name, prompt_version, pieces
),
changes AS (
    SELECT
        *,
        substr(sha256(concat_ws(chr(31), coalesce(agent_name, chr(30)), coalesce(service_name, chr(30)),
                                coalesce(prompt_name, chr(30)), coalesce(prompt_version, chr(30)),
                                coalesce(hash, chr(30)))), 1, 32) AS id,
        row_number() OVER earlier AS revision,
        lag(hash) OVER earlier AS previous_hash
    FROM prompts
    WINDOW earlier AS (PARTITION BY agent_name, service_name, prompt_name ORDER BY first_ns, hash, prompt_version)
)
SELECT * FROM changes
WHERE ($agent IS NULL OR agent_name = $agent)
  AND ($service IS NULL OR service_name = $service)
  AND ($prompt IS NULL OR prompt_name = $prompt)
  AND ($before_ns IS NULL OR (first_ns, id) < ($before_ns, $before_id))
ORDER BY first_ns DESC, id DESC
LIMIT $limit;
