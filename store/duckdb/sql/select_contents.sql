-- Content by its ids. First where it stands, then the texts: a text is only decompressed with those around it.
SELECT content_id, media_type, text
FROM contents
WHERE rowid IN (
    SELECT min(rowid) FROM contents
    WHERE tenant = $tenant AND content_id IN (SELECT unnest($ids))
    GROUP BY content_id
);
