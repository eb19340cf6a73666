-- The log records of some traces that speak for a step, as the steps that they name: by span, or by a model's response.
-- `paid` is the first of them, by time, that says what the call cost (see store.model.paid). `marked` has the texts in which a record may say that it was cut or redacted: looking for the name is cheap, reading it is not.
SELECT
    trace_id,
    span_id,
    response_id,
    bool_or(input_messages IS NOT NULL OR output_messages IS NOT NULL OR system_instructions IS NOT NULL) AS tells,
    bool_or(coalesce(len(input_messages), 0) > 0) AS given,
    bool_or(coalesce(len(output_messages), 0) > 0) AS said,
    min(struct_pack(
        at_ns := CASE WHEN time_ns = 0 THEN observed_ns ELSE time_ns END, event_id := event_id, cost_usd := cost_usd
    )) FILTER (cost_usd IS NOT NULL) AS paid,
    list(struct_pack(attributes, pieces)) FILTER (
        contains(attributes, $marks_begin) OR contains(coalesce(pieces, ''), $marks_begin)
    ) AS marked
FROM events
WHERE tenant = $tenant AND trace_id IN (SELECT unnest($trace_ids)) AND sequence <= $until
  AND (input_messages IS NOT NULL OR output_messages IS NOT NULL OR system_instructions IS NOT NULL
       OR verdicts IS NOT NULL OR tool_definitions IS NOT NULL OR tool_requests IS NOT NULL
       OR cost_usd IS NOT NULL)
GROUP BY ALL;
