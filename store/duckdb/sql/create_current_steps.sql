-- Every distinct span once, in its current version. Opening must write nothing: the disk may be full.
CREATE VIEW IF NOT EXISTS current_steps AS
SELECT versions.*
FROM step_versions AS versions
ANTI JOIN superseded USING (tenant, trace_id, span_id, revision);
