SELECT access_id FROM access_records WHERE access_id IN (SELECT unnest($ids));
