INSERT INTO meta VALUES ($schema_version, $normaliser_version, $journal_id, 0);
