"""A process that answers one statement and has nothing else: `python -m store.duckdb.sandbox`.

    order and tables come in on stdin -> views are made of them -> checked once more -> run -> the answer goes out on stdout

A statement that somebody wrote can take memory that no limit of the engine sees (a text that is doubled thirty times), and
time that no interruption ends; beside the writer either would stand in its way. So it runs here: in an engine of its own that
holds one tenant's columns and nothing besides, without files, network or environment, with memory that the kernel bounds, at
the lowest priority, and is killed when its time is over. What it may read was read for it.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import duckdb
import pyarrow as pa
import pyarrow.ipc

from store.duckdb.answers import Bound, encoded
from store.duckdb.sandbox_wire import read_document, write_document
from store.questions import ResultForm

_KERNEL_SPARE_MB: Final = 512
"""Beside the engine's memory: Python, libraries, threads' stacks, columns on their way, and the answer being written."""
_FILES_MAX: Final = 64
_NICE: Final = 19
_PR_SET_PDEATHSIG: Final = 1  # Of sys/prctl.h.
THREADS: Final = 2
_INCOMING: Final = "incoming"
_SCAN_OF_INCOMING: Final = '"name": "PYTHON_ARROW_SCAN"'  # As plans name it.
_BATCH_ROWS: Final = 1024  # Of an answer: what is beyond its bounds is at most one of these.
_TOO_LARGE: Final = "too_large"
_FAILED: Final = "failed"
_NOT_ALLOWED: Final = "not_allowed"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Functions that the engine's own parser makes of operators and literals.
_OPERATORS: Final = _names(
    """+ - * / // % ** ^ || ~~ !~~ ~~* !~~* ~~~ & | << >> ~ ! @ ^@ -> ->> array_extract array_slice struct_extract
    list_value struct_pack row count_star regexp_full_match like_escape not_like_escape ilike_escape
    not_ilike_escape unnest list_slice constructor_list to_years to_months to_weeks to_days to_hours to_minutes
    to_seconds to_milliseconds to_microseconds to_quarters try date_part main.constant_or_null map subtract add
    multiply divide mod fdiv construct_array"""
)


def main() -> int:
    """Answer the one order. Returns the exit status."""
    _live_no_longer_than_the_parent()
    incoming, outgoing = sys.stdin.buffer, sys.stdout.buffer
    try:
        order = read_document(incoming)
    except EOFError:
        return 0  # Nobody asked.
    _bounded(order["memory_mb"])
    try:
        body, said = _answered(order, incoming)
    except (duckdb.OutOfMemoryException, MemoryError, pa.ArrowMemoryError):
        body, said = b"", {"error": _TOO_LARGE}
    except _NotAllowed as error:
        body, said = b"", {"error": _NOT_ALLOWED, "message": str(error)}
    except duckdb.Error as error:
        body, said = b"", {"error": _FAILED, "message": _message(error)}
    os.close(incoming.fileno())  # What was not wanted of a table is not waited for.
    write_document(outgoing, said | {"bytes": len(body)})
    outgoing.write(body)
    outgoing.flush()
    return 0


class _NotAllowed(Exception):
    """The engine's parser sees something that the check before it did not."""


def _answered(order: dict[str, Any], incoming: BinaryIO) -> tuple[bytes, dict[str, Any]]:
    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "enable_external_access": "false",
            "memory_limit": f"{order['memory_mb']}MB",
            "threads": str(THREADS),
            "python_enable_replacements": "false",
            "temp_directory": "",
        },
    )
    for statement in order["prepare"]:
        connection.execute(statement)
    for table in order["tables"]:
        _take(connection, table, incoming)
    for name, text in order["views"]:
        connection.execute(f'CREATE TEMP VIEW "{name}" AS {text}')
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SET lock_configuration = true")
    _check(connection, order)
    _settle(connection, order["sql"], order["tables"])
    bound = Bound(rows=order["rows_max"], size=order["bytes_max"])
    relation = connection.sql(order["sql"])
    types = [str(one) for one in relation.types]
    reader = relation.to_arrow_reader(_BATCH_ROWS)
    return encoded(reader, types, ResultForm(order["form"]), bound)


def _take(connection: duckdb.DuckDBPyConnection, table: dict[str, Any], incoming: BinaryIO) -> None:
    """Take in one table: into memory, or for now only where it comes from."""
    reader = pyarrow.ipc.open_stream(incoming)
    if table["streamed"]:
        connection.register(table["base"], reader)
        return
    connection.register(_INCOMING, reader)
    connection.execute(f'CREATE TABLE "{table["base"]}" AS SELECT * FROM {_INCOMING}').fetchall()  # noqa: S608
    connection.unregister(_INCOMING)


def _settle(connection: duckdb.DuckDBPyConnection, sql: str, tables: list[dict[str, Any]]) -> None:
    """A table that comes in can be read while it does, but only once: where the plan reads it again, it is kept."""
    [base] = [table["base"] for table in tables if table["streamed"]] or [None]
    if base is None:
        return
    rows = connection.execute(f"EXPLAIN (FORMAT JSON) {sql}").fetchall()
    if sum(text.count(_SCAN_OF_INCOMING) for _, text in rows) > 1:
        connection.execute(f'CREATE TABLE {_INCOMING} AS SELECT * FROM "{base}"').fetchall()  # noqa: S608
        connection.unregister(base)
        connection.execute(f'ALTER TABLE {_INCOMING} RENAME TO "{base}"')


def _check(connection: duckdb.DuckDBPyConnection, order: dict[str, Any]) -> None:
    """Look at the statement as this engine's own parser reads it: whatever was checked before, this is what would run."""
    [(text,)] = connection.execute("SELECT json_serialize_sql($sql)", {"sql": order["sql"]}).fetchall()
    tree = json.loads(text)
    if tree.get("error"):
        raise _NotAllowed(str(tree.get("error_message", "it is not one SELECT")))
    if len(tree["statements"]) != 1:
        raise _NotAllowed("it is more than one statement")
    allowed = frozenset(order["functions"]) | _OPERATORS
    sources = frozenset(name for name, _ in order["views"])
    ctes: set[str] = set()
    tables: list[str] = []
    for node in _nodes(tree):
        match node.get("type"):
            case "BASE_TABLE":
                if node.get("catalog_name") or node.get("schema_name"):
                    raise _NotAllowed("a table with a schema")
                tables.append(node["table_name"])
            case "TABLE_FUNCTION":
                if node["function"].get("function_name") != "unnest":
                    raise _NotAllowed(f"the table function {node['function'].get('function_name')}")
            case _:
                pass
        if "function_name" in node and (
            node["function_name"].lower() not in allowed or node.get("schema") not in ("", None, "main")
        ):
            raise _NotAllowed(f"the function {node['function_name']}")
        for entry in (node.get("cte_map") or {}).get("map") or ():
            ctes.add(entry["key"].lower())
    for name in tables:
        if name not in sources and name.lower() not in ctes:
            raise _NotAllowed(f"the table {name}")


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON value; without recursion, which a deep statement would exhaust."""
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _message(error: duckdb.Error) -> str:
    """What the engine says, without the line of the statement as it was written anew."""
    text = str(error).partition("\n\nLINE ")[0].partition("\nLINE ")[0]
    kind, _, rest = text.partition(": ")
    return rest if kind.endswith("Error") and rest else text


def _bounded(memory_mb: int) -> None:
    """Give up what a statement has no use for: memory past its share, files, priority."""
    memory = (memory_mb + _KERNEL_SPARE_MB) * 1024 * 1024
    for what, limit in (
        (resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _FILES_MAX),
    ):  # fmt: skip
        hard = resource.getrlimit(what)[1]
        bounded = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (bounded, bounded))
    os.nice(_NICE)


def _live_no_longer_than_the_parent() -> None:
    """A server that is gone wants no answer. Signals of a terminal are for the server, which kills this one."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # What the engine holds need not be taken down in order.
