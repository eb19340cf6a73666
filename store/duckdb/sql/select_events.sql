-- Log records, newest first, behind the cursor.
SELECT *, greatest(time_ns, CASE WHEN time_ns = 0 THEN observed_ns ELSE 0 END) AS at_ns
FROM events
WHERE tenant = $tenant
  AND ($trace_id IS NULL OR trace_id = $trace_id)
  AND ($span_id IS NULL OR span_id = $span_id)
  AND ($event_name IS NULL OR event_name = $event_name)
  AND ($service IS NULL OR service_name = $service)
  AND ($since_ns IS NULL OR greatest(time_ns, CASE WHEN time_ns = 0 THEN observed_ns ELSE 0 END) >= $since_ns)
  AND ($until_ns IS NULL OR greatest(time_ns, CASE WHEN time_ns = 0 THEN observed_ns ELSE 0 END) < $until_ns)
  AND ($before_ns IS NULL
       OR (greatest(time_ns, CASE WHEN time_ns = 0 THEN observed_ns ELSE 0 END), event_id) < ($before_ns, $before_id))
ORDER BY at_ns DESC, event_id DESC
LIMIT $limit;
