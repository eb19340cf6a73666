-- Metric points, newest first, behind the cursor.
SELECT * FROM metric_points
WHERE tenant = $tenant
  AND ($metric IS NULL OR metric = $metric)
  AND ($service IS NULL OR service_name = $service)
  AND ($since_ns IS NULL OR time_ns >= $since_ns)
  AND ($until_ns IS NULL OR time_ns < $until_ns)
  AND ($before_ns IS NULL OR (time_ns, point_id) < ($before_ns, $before_id))
ORDER BY time_ns DESC, point_id DESC
LIMIT $limit;
