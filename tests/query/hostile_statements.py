"""Statements that mean harm, or would do it: each with what must come of it before anything is run.

`REFUSED`: text, and a word of the reason. `UNREADABLE`: not SQL at all. What is allowed and would take everything is
`BOUNDED`.
"""

REFUSED: dict[str, str] = {
    # Other statements.
    "COPY runs TO '/tmp/out.csv'": "COPY",
    "COPY (SELECT 1) TO '/tmp/out.csv'": "COPY",
    "ATTACH '/etc/passwd' AS p": "ATTACH",
    "DETACH view": "DETACH",
    "USE view": "USE",
    "PRAGMA database_list": "PRAGMA",
    "SET memory_limit = '100GB'": "SET",
    "RESET memory_limit": "RESET",
    "INSTALL httpfs": "INSTALL",
    "LOAD httpfs": "LOAD",
    "EXPORT DATABASE '/tmp/x'": "EXPORT",
    "IMPORT DATABASE '/tmp/x'": "IMPORT",
    "CALL pragma_version()": "CALL",
    "CHECKPOINT": "CHECKPOINT",
    "VACUUM": "VACUUM",
    "EXPLAIN ANALYZE SELECT 1": "EXPLAIN",
    "DESCRIBE runs": "DESCRIBE",
    "SHOW ALL TABLES": "SHOW",
    "SUMMARIZE runs": "SUMMARIZE",
    "DELETE FROM runs": "DELETE",
    "UPDATE runs SET status = 'ok'": "UPDATE",
    "INSERT INTO runs VALUES (1)": "INSERT",
    "DROP TABLE runs": "DROP",
    "CREATE TABLE x AS SELECT 1": "CREATE",
    "CREATE MACRO f(x) AS x": "CREATE",
    "ALTER TABLE runs DROP COLUMN status": "ALTER",
    "TRUNCATE runs": "TRUNCATE",
    "BEGIN TRANSACTION": "BEGIN",
    "PREPARE p AS SELECT 1": "PREPARE",
    "EXECUTE p": "EXECUTE",
    "SELECT 1; SELECT 2": "one statement",
    "SELECT 1; DROP TABLE runs": "one statement",
    "SELECT 1;\n-- harmless\nCOPY runs TO 'x'": "one statement",
    # Writes within a SELECT.
    "WITH gone AS (DELETE FROM runs RETURNING *) SELECT * FROM gone": "DELETE",
    "WITH x AS (INSERT INTO runs VALUES (1) RETURNING *) SELECT * FROM x": "INSERT",
    "SELECT * INTO x FROM runs": "INTO",
    "SELECT * FROM runs FOR UPDATE": "LOCK",
    # Files, network, environment, settings.
    "SELECT * FROM '/etc/passwd'": "no view",
    "SELECT * FROM 'x.csv'": "no view",
    'SELECT * FROM "data.parquet"': "no view",
    "FROM 'https://evil.example/x.parquet'": "no view",
    "SELECT * FROM read_csv('/etc/passwd')": "cannot be read from",
    "SELECT * FROM read_csv_auto('/etc/passwd')": "cannot be read from",
    "SELECT * FROM read_text('/etc/passwd')": "cannot be read from",
    "SELECT * FROM read_blob('/etc/*')": "cannot be read from",
    "SELECT * FROM read_parquet('s3://b/k')": "cannot be read from",
    "SELECT * FROM read_json('x')": "cannot be read from",
    "SELECT * FROM glob('/etc/*')": "cannot be read from",
    "SELECT * FROM sniff_csv('/etc/passwd')": "cannot be read from",
    "SELECT * FROM parquet_metadata('x')": "cannot be read from",
    "SELECT read_text('/etc/passwd')": "read_text",
    "SELECT getenv('HOME')": "getenv",
    "SELECT current_setting('memory_limit')": "current_setting",
    "SELECT set_config('a', 'b', false)": "set_config",
    "SELECT getvariable('x')": "getvariable",
    # Statements as texts.
    "SELECT * FROM query('SELECT 1')": "cannot be read from",
    "SELECT * FROM query_table('step_versions')": "cannot be read from",
    "SELECT json_execute_serialized_sql('x')": "json_execute_serialized_sql",
    "SELECT json_serialize_sql('SELECT 1')": "json_serialize_sql",
    # The catalog, and tables that are no view.
    "SELECT * FROM information_schema.tables": "schema",
    "SELECT * FROM pg_catalog.pg_class": "schema",
    "SELECT * FROM sqlite_master": "no view",
    "SELECT * FROM duckdb_settings()": "cannot be read from",
    "SELECT * FROM duckdb_secrets()": "cannot be read from",
    "SELECT * FROM pragma_table_info('runs')": "cannot be read from",
    "SELECT * FROM step_versions": "no view",
    "SELECT * FROM view.main.step_versions": "schema",
    "SELECT * FROM base_runs": "no view",
    "SELECT * FROM source_0": "no view",
    "SELECT * FROM meta": "no view",
    "SELECT * FROM quarantine": "no view",
    "TABLE step_versions": "TABLE",
    # Names that hide something.
    "WITH runs AS (SELECT 1) SELECT * FROM runs": "documented view",
    "WITH getenv AS (SELECT 1) SELECT getenv('HOME') FROM getenv": "getenv",
    "SELECT \"getenv\"('HOME')": "getenv",
    "SELECT 'HOME'.getenv()": "getenv",
    "SELECT GetEnv ('HOME')": "getenv",
    "SELECT /* a */ getenv /* b */ ('HOME')": "getenv",
    "SELECT main.getenv('HOME')": "getenv",
    # What multiplies without a table.
    "SELECT * FROM range(1000000000000)": "cannot be read from",
    "SELECT * FROM generate_series(1, 1000000000000)": "cannot be read from",
    "SELECT unnest(range(1000000000000))": "range",
    "SELECT repeat('x', 1000000000)": "repeat",
    "SELECT list_transform([1], x -> x)": "LAMBDA",
    "SELECT [x FOR x IN [1, 2]]": "COMPREHENSION",
    "SELECT COLUMNS('.*') FROM runs": "COLUMNS",
    "SELECT COLUMNS(*) FROM runs": "COLUMNS",
    "SELECT #1 FROM runs": "POSITIONAL",
    "PIVOT runs ON status": "PIVOT",
    "SELECT * FROM runs PIVOT (count(*) FOR status IN ('ok'))": "PIVOT",
    "SELECT * FROM runs TABLESAMPLE 10%": "sample",
    "SELECT * FROM runs NATURAL JOIN steps": "NATURAL",
    "SELECT * FROM runs POSITIONAL JOIN steps": "POSITIONAL",
    "SELECT * FROM runs AT (VERSION => 1)": "not allowed",
    "SELECT $1": "PLACEHOLDER",
    "SELECT ?": "PLACEHOLDER",
    "SELECT random()": "random",
    "SELECT nextval('x')": "nextval",
    "SELECT error('x')": "error",
    "SELECT " + "(" * 60 + "1" + ")" * 60: "deep",
    "SELECT " + ", ".join(["1"] * 3000): "words and signs",
    "SELECT '" + "x" * 30_000 + "'": "characters",
    "SELECT 1 FROM " + ", ".join(f"runs r{n}" for n in range(20)): "at most 16 views",
}  # fmt: skip

UNREADABLE: tuple[str, ...] = (
    "", "  ", "-- nothing", "SELEC 1", "SELECT * FROM", "SELECT * FROM runs WHERE", "SELECT (1", "SELECT 'x",
    "\0", "'", "/*",
)  # fmt: skip

_DOUBLED = "SELECT 'xxxxxxxxxxxxxxxx' AS t"
for _ in range(36):
    _DOUBLED = f"SELECT t || t AS t FROM ({_DOUBLED})"
_EXPANDED = "replace(" * 9 + "'x'" + ", 'x', 'xxxxxxxxxxxxxxxxxxxx')" * 9

BOUNDED: dict[str, str] = {
    "a cross join that explodes": (
        "SELECT count(*) FROM steps a, steps b, steps c, steps d WHERE a.name <> b.name OR c.name > d.name"
    ),
    "an order over a cross join": (
        "SELECT a.name, b.name FROM steps a, steps b, steps c ORDER BY a.span_id, c.name, b.name DESC"
    ),
    "groups over a cross join": (
        "SELECT a.span_id || b.span_id || c.span_id, count(*) FROM steps a, steps b, steps c GROUP BY 1"
    ),
    "a list of everything": "SELECT len(list(a.span_id || b.name)) FROM steps a, steps b, steps c",
    "one text of everything": "SELECT length(string_agg(a.span_id || b.span_id, ',')) FROM steps a, steps b, steps c",
    "a text that is doubled": _DOUBLED.replace("AS t FROM", "AS t FROM", 1),
    "a text that is replaced by itself": f"SELECT length({_EXPANDED})",
    "a padded text": "SELECT length(lpad('', 2000000000, 'x')) FROM steps",
    "a recursion without an end": (
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r"
    ),
    "a recursion that multiplies": (
        "WITH RECURSIVE r AS (SELECT span_id FROM steps UNION ALL SELECT r.span_id FROM r, steps) SELECT "
        "count(*) FROM r"
    ),
    "windows over a cross join": (
        "SELECT sum(n) FROM (SELECT row_number() OVER (ORDER BY a.name, b.name, c.name) AS n FROM steps a, "
        "steps b, steps c)"
    ),
    "a histogram of everything": (
        "SELECT histogram(a.span_id || b.span_id || c.span_id) FROM steps a, steps b, steps c"
    ),
    "an expression that backtracks": (
        "SELECT count(*) FROM steps a, steps b, steps c WHERE regexp_matches(a.span_id || b.span_id || "
        "c.span_id, '(a+)+(b+)+$')"
    ),
}
