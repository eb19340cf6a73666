SELECT schema_version, normaliser_version, journal_id, sequence FROM meta;
