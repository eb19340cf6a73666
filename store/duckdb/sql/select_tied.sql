-- Every segment that has one of some ties. The lists are searched by the column; rows are read only of what is found.
SELECT tenant, trace_id, segment_id, run_id, conversation_id, start_ns, first_sequence, last_sequence, shares, leaves, takes
FROM segments
WHERE rowid IN (
    SELECT place
    FROM (
        SELECT rowid AS place, unnest(shares) AS tie FROM segments
        UNION ALL
        SELECT rowid, unnest(leaves) FROM segments
        UNION ALL
        SELECT rowid, unnest(takes) FROM segments
    )
    WHERE tie IN (SELECT unnest($ties::BIGINT[]))
);
