-- Step versions in the order of the record. First where they stand, then the rest of them.
SELECT * EXCLUDE (attributes, events, links, extra, pieces, resource, scope) FROM step_versions
WHERE rowid IN (
    SELECT rowid FROM step_versions
    WHERE tenant = $tenant AND sequence > $sequence
    ORDER BY sequence, ordinal
    LIMIT $limit
)
ORDER BY sequence, ordinal;
