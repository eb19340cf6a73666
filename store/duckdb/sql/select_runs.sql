-- Runs, newest start first, behind the cursor. The status of a run without a recorded end depends on the moment asked.
WITH seen AS (
    SELECT *,
        CASE
            WHEN open_reason IS NULL THEN status
            WHEN $now_ns - least(last_received_ns, last_event_ns + $skew_ns) < $idle_ns THEN 'running'
            WHEN open_reason = 'missing_root' THEN 'incomplete'
            ELSE 'abandoned'
        END AS status_now
    FROM runs
    WHERE tenant = $tenant
)
SELECT * FROM seen
WHERE ($agent IS NULL OR agent_name = $agent)
  AND ($status IS NULL OR status_now = $status)
  AND ($conversation IS NULL OR conversation_id = $conversation)
  AND ($service IS NULL OR service_name = $service)
  AND ($trace_id IS NULL OR list_contains(trace_ids, $trace_id))
  AND ($tool IS NULL OR list_contains(tools, $tool))
  AND ($model IS NULL OR list_contains(models, $model))
  AND ($user IS NULL OR user_id = $user)
  AND ($since_ns IS NULL OR start_ns >= $since_ns)
  AND ($until_ns IS NULL OR start_ns < $until_ns)
  AND ($q IS NULL OR contains(
      lower(concat_ws(' ', run_id, agent_name, workflow_name, service_name, conversation_id, outcome_reason,
                      array_to_string(tools, ' '), array_to_string(models, ' '))),
      lower($q)))
  AND ($before_ns IS NULL OR (start_ns, run_id) < ($before_ns, $before_id))
ORDER BY start_ns DESC, run_id DESC
LIMIT $limit;
