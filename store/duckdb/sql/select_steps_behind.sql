-- Step versions behind a place in the record, up to a frame. First where they stand, then the rest of them. A step of no agent
-- is its run's agent's; runs that ended before the place are not looked at.
SELECT * EXCLUDE (attributes, events, links, extra, pieces, resource, scope) FROM step_versions
WHERE rowid IN (
    SELECT rowid FROM step_versions
    WHERE tenant = $tenant
      AND sequence BETWEEN $sequence AND $until
      AND (sequence > $sequence OR ordinal > $ordinal)
      AND ($tool IS NULL OR tool_name = $tool)
      AND ($model IS NULL OR coalesce(response_model, request_model) = $model)
      AND ($kind IS NULL OR kind = $kind)
      AND ($service IS NULL OR service_name = $service)
      AND ($agent IS NULL OR agent_name = $agent OR (agent_name IS NULL AND trace_id IN (
          SELECT unnest(trace_ids) FROM runs
          WHERE tenant = $tenant AND agent_name = $agent AND last_sequence >= $sequence)))
      AND ($run IS NULL OR trace_id IN (
          SELECT trace_id FROM segments
          WHERE tenant = $tenant AND run_id IN (
              SELECT run_id FROM segments
              WHERE tenant = $tenant AND (run_id = $run OR segment_id = $run OR trace_id = $run))))
    ORDER BY sequence, ordinal
    LIMIT $limit
)
ORDER BY sequence, ordinal;
