SELECT
    CASE
        WHEN open_reason IS NULL THEN status
        WHEN $now_ns - least(last_received_ns, last_event_ns + $skew_ns) < $idle_ns THEN 'running'
        WHEN open_reason = 'missing_root' THEN 'incomplete'
        ELSE 'abandoned'
    END AS status_now,
    count(*) AS runs
FROM runs GROUP BY status_now;
