-- Every distinct span once, in its current version. Only made where it is not there: opening a view writes nothing, for the
-- disk may be full. So a change here, as of a table, needs another SCHEMA_VERSION.
CREATE VIEW IF NOT EXISTS current_steps AS
SELECT versions.*
FROM step_versions AS versions
ANTI JOIN superseded USING (tenant, trace_id, span_id, revision);
