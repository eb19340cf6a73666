-- Step versions in the order of the record.
SELECT * EXCLUDE (attributes, events, links, extra, pieces, resource, scope) FROM step_versions
WHERE tenant = $tenant AND sequence > $sequence
ORDER BY sequence, ordinal
LIMIT $limit;
