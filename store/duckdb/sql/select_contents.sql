SELECT content_id, min(media_type) AS media_type, any_value(text) AS text
FROM contents
WHERE tenant = $tenant AND content_id IN (SELECT unnest($ids))
GROUP BY content_id;
