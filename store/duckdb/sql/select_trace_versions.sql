-- Every version of every span of some traces, oldest first. The sequence range lets row groups be skipped.
SELECT * EXCLUDE (attributes, events, links, extra, pieces, resource, scope)
FROM step_versions
WHERE sequence BETWEEN $first_sequence AND $last_sequence
  AND trace_id IN (SELECT unnest($trace_ids))
ORDER BY sequence, ordinal;
