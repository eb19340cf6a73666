DELETE FROM segments WHERE segment_id IN (SELECT unnest($segment_ids));
