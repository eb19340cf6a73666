-- What a replay wants of steps, by their places.
SELECT
    rowid AS place, trace_id, span_id, start_ns, end_ns, kind, name, outcome, agent_name, error_type, status_message,
    response_id, finish_reason, truncated, redacted, particulars, input_messages, output_messages,
    system_instructions
FROM step_versions
WHERE rowid IN (SELECT unnest($places));
