"""A digest of every table: two views of one record, whatever their batches were, have the same ones."""

from hashlib import sha256

import msgspec

from store.duckdb.engine import Engine

_ROWS_AT_ONCE = 10_000
# Content may stand twice (see create_contents.sql), so it is taken once; everything else row by row.
_TABLES = {
    "runs": "SELECT * FROM runs ORDER BY run_id",
    "segments": "SELECT * FROM segments ORDER BY segment_id",
    "steps": "SELECT * FROM step_versions ORDER BY sequence, ordinal",
    "superseded": "SELECT * FROM superseded ORDER BY trace_id, span_id, revision",
    "tool_calls": "SELECT * FROM tool_calls ORDER BY run_id, position",
    "decisions": "SELECT * FROM decisions ORDER BY run_id, position",
    "contents": """
        SELECT tenant, content_id, min(media_type), any_value(text) FROM contents
        GROUP BY tenant, content_id ORDER BY content_id
    """,
    "events": "SELECT * FROM events ORDER BY sequence, ordinal",
    "metric_points": "SELECT * FROM metric_points ORDER BY sequence, ordinal",
    "evaluations": "SELECT * FROM evaluations ORDER BY sequence, ordinal, evaluation_id",
    "access_records": "SELECT * FROM access_records ORDER BY sequence, ordinal",
    "quarantine": "SELECT * FROM quarantine ORDER BY sequence",
}


def table_digests(engine: Engine) -> dict[str, str]:
    """SHA-256 by table name, over its rows in a fixed order. Hex."""
    digests: dict[str, str] = {}
    for name, statement in _TABLES.items():
        digest = sha256()
        cursor = engine.cursor().execute(statement)
        while rows := cursor.fetchmany(_ROWS_AT_ONCE):
            for row in rows:
                digest.update(msgspec.json.encode(row) + b"\n")
        digests[name] = digest.hexdigest()
    return digests
