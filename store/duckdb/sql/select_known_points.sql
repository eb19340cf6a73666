SELECT point_id FROM metric_points WHERE point_id IN (SELECT unnest($ids));
