SELECT
    (SELECT count(*) FROM runs) AS runs,
    (SELECT count(*) FROM step_versions) AS step_versions,
    (SELECT count(*) FROM events) AS events,
    (SELECT count(*) FROM metric_points) AS metric_points,
    (SELECT count(*) FROM contents) AS contents,
    (SELECT count(*) FROM quarantine) AS quarantined_frames;
