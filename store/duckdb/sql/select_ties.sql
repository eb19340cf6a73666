-- Every tie of every segment.
SELECT unnest(shares) AS tie FROM segments
UNION ALL
SELECT unnest(leaves) FROM segments
UNION ALL
SELECT unnest(takes) FROM segments;
