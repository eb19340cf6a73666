-- Steps by their places. What only a reader of the single step wants is left out.
SELECT rowid AS place, * EXCLUDE (attributes, events, links, extra, pieces, resource, scope)
FROM step_versions
WHERE rowid IN (SELECT unnest($places));
