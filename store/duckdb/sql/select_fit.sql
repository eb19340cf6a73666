-- Nothing; it fails where the tables are not the ones that this release reads.
SELECT * FROM current_steps LIMIT 0;
