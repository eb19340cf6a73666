-- Who carries messages in a trace, and which: its own, else those of the log records that speak for it. A step of the
-- `repeating` kinds repeats what was given below it.
WITH carried AS (
    SELECT
        span_id,
        kind IN (SELECT unnest($repeating)) AS repeating,
        coalesce(len(input_messages), 0) > 0 AS given,
        coalesce(len(output_messages), 0) > 0 AS said
    FROM trace_steps($tenant, $trace_id, $first_sequence, $last_sequence)
    WHERE kind IN (SELECT unnest($kinds))
),
told AS (
    SELECT
        span_id,
        repeating,
        CASE WHEN given OR said THEN given ELSE span_id IN (SELECT unnest($told_given::VARCHAR[])) END AND NOT repeating AS given,
        CASE WHEN given OR said THEN said ELSE span_id IN (SELECT unnest($told_said::VARCHAR[])) END AS said
    FROM carried
)
SELECT * FROM told WHERE repeating OR given OR said;
