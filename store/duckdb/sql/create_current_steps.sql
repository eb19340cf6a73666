-- Every distinct span once, in its current version.
CREATE OR REPLACE VIEW current_steps AS
SELECT versions.*
FROM step_versions AS versions
ANTI JOIN superseded USING (tenant, trace_id, span_id, revision);
