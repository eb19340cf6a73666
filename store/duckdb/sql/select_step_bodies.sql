-- One step with everything its span said.
SELECT * FROM current_steps WHERE tenant = $tenant AND trace_id = $trace_id AND span_id = $span_id;
