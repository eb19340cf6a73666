-- Traces of runs that have a tool call in common with one of some traces: what was one run once, while the call was open.
SELECT DISTINCT segments.trace_id
FROM segments
WHERE tenant = $tenant
  AND run_id IN (
      SELECT other.run_id
      FROM tool_calls AS mine
      JOIN tool_calls AS other USING (tenant, tool_call_id)
      JOIN runs AS my_run ON my_run.tenant = mine.tenant AND my_run.run_id = mine.run_id
      JOIN runs AS other_run ON other_run.tenant = other.tenant AND other_run.run_id = other.run_id
      WHERE mine.tenant = $tenant
        AND mine.run_id IN (
            SELECT run_id FROM segments
            WHERE tenant = $tenant AND trace_id IN (SELECT unnest($trace_ids)))
        AND mine.tool_name IS NOT DISTINCT FROM other.tool_name
        AND (mine.arguments IS NULL OR other.arguments IS NULL OR mine.arguments = other.arguments
             OR my_run.conversation_id = other_run.conversation_id))
LIMIT $limit;
