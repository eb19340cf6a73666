-- Access records, the latest in the record first, behind the cursor. A run is asked for by any of its ids, and found where
-- it was read or compared with another.
WITH of_run AS (
    SELECT $run AS id
    UNION ALL
    SELECT unnest([run_id, segment_id, trace_id]) FROM segments
    WHERE tenant = $tenant AND run_id IN (
        SELECT run_id FROM segments
        WHERE tenant = $tenant AND (run_id = $run OR segment_id = $run OR trace_id = $run))
)
SELECT * FROM access_records
WHERE tenant = $tenant
  AND ($who IS NULL OR who = $who)
  AND ($action IS NULL OR action = $action)
  AND ($outcome IS NULL OR outcome = $outcome)
  AND ($run IS NULL OR run_id IN (SELECT id FROM of_run)
    OR json_extract_string(detail, '$.other_run') IN (SELECT id FROM of_run))
  AND ($since_ns IS NULL OR at_ns >= $since_ns)
  AND ($until_ns IS NULL OR at_ns < $until_ns)
  AND ($before_sequence IS NULL OR (sequence, ordinal) < ($before_sequence, $before_ordinal))
ORDER BY sequence DESC, ordinal DESC
LIMIT $limit;
