-- A run by its id, by the id of any of its segments (ids once shown keep resolving), or by a trace id.
SELECT *, status AS status_now FROM runs
WHERE tenant = $tenant
  AND run_id IN (
      SELECT run_id FROM segments
      WHERE tenant = $tenant AND (run_id = $id OR segment_id = $id OR trace_id = $id)
  );
