-- Evaluations, newest first, behind the cursor. One that names a response is about the step with that response.
WITH answers AS (
    SELECT response_id, arg_min(struct_pack(trace_id, span_id), (start_ns, span_id)) AS step
    FROM current_steps
    WHERE tenant = $tenant
      AND response_id IN (SELECT response_id FROM evaluations WHERE tenant = $tenant AND response_id IS NOT NULL)
    GROUP BY response_id
),
judged AS (
    SELECT
        evaluations.* EXCLUDE (trace_id, span_id),
        coalesce(answers.step.trace_id, evaluations.trace_id) AS trace_id,
        CASE WHEN answers.step IS NULL THEN evaluations.span_id ELSE answers.step.span_id END AS span_id
    FROM evaluations
    LEFT JOIN answers USING (response_id)
    ANTI JOIN superseded USING (tenant, trace_id, span_id, revision)
    WHERE tenant = $tenant
)
SELECT judged.*, segments.run_id
FROM judged
LEFT JOIN segments ON segments.tenant = $tenant AND segments.trace_id = judged.trace_id
WHERE ($run IS NULL OR segments.run_id IN (
        SELECT run_id FROM segments
        WHERE tenant = $tenant AND (run_id = $run OR segment_id = $run OR trace_id = $run)))
  AND ($trace_id IS NULL OR judged.trace_id = $trace_id)
  AND ($span_id IS NULL OR judged.span_id = $span_id)
  AND ($name IS NULL OR name = $name)
  AND ($evaluator IS NULL OR evaluator_name = $evaluator)
  AND ($service IS NULL OR service_name = $service)
  AND ($since_ns IS NULL OR time_ns >= $since_ns)
  AND ($until_ns IS NULL OR time_ns < $until_ns)
  AND ($before_ns IS NULL OR (time_ns, evaluation_id) < ($before_ns, $before_id))
ORDER BY time_ns DESC, evaluation_id DESC
LIMIT $limit;
