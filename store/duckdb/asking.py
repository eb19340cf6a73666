"""One question on its way: its columns are read in one transaction, and a sandbox answers it.

Strategy: the writer's engine only ever runs our own statements here, simple scans of one tenant that stream and hold nothing;
what somebody wrote runs in a process of its own (`store.duckdb.sandbox`), which a timer kills. So neither memory nor time
that a statement takes is the writer's. All tables of a question are as of one moment.
"""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any, BinaryIO, Final, cast

import duckdb
import pyarrow as pa
import pyarrow.ipc

from store.duckdb.engine import Engine
from store.duckdb.sandbox_wire import read_document, read_exactly, write_document
from store.duckdb.sources import CURRENT_STEPS, OfRuns, Plan, Scan, plan_of
from store.duckdb.statements import sql
from store.errors import StoreError, ViewError
from store.model.runs import CLOCK_SKEW_NS, IDLE_NS
from store.questions import (
    CONTENTS_MAX,
    RESULT_BYTES_MAX,
    SqlAnswer,
    SqlCancelled,
    SqlFailed,
    SqlNotAllowed,
    SqlQuestion,
    SqlTimeout,
    SqlTooLarge,
)

_BATCH_ROWS: Final = 65_536  # Some MB of the columns that most questions read.
_END_SECONDS: Final = 5.0  # A process that was killed is gone at once.


class DuckDbAsking:
    """See `store.questions.Asking`."""

    def __init__(self, engine: Engine, tenant: str, question: SqlQuestion, clock_ns: Callable[[], int]) -> None:
        self._engine = engine
        self._tenant = tenant
        self._question = question
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._ended: type[SqlTimeout] | type[SqlCancelled] | None = None

    def answer(self) -> SqlAnswer:
        timer = threading.Timer(self._question.limits.seconds, self._end, (SqlTimeout,))
        timer.daemon = True
        timer.start()
        try:
            return self._answered()
        finally:
            timer.cancel()

    def cancel(self) -> None:
        self._end(SqlCancelled)

    def _end(self, why: type[SqlTimeout] | type[SqlCancelled]) -> None:
        with self._lock:
            if self._ended is not None:
                return
            self._ended = why
            if self._process is not None:
                self._process.kill()
            if self._cursor is not None:
                with suppress(duckdb.Error):
                    self._cursor.interrupt()

    def _answered(self) -> SqlAnswer:
        plan = plan_of(self._question.sources)
        process = self._started()
        try:
            told = self._asked(process, plan)
            if told is None:
                raise self._gone(process)
            return self._judged(process, told)
        finally:
            process.kill()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
            process.wait(_END_SECONDS)

    def _started(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "store.duckdb.sandbox"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
            close_fds=True,
        )
        with self._lock:
            self._process = process
            if self._ended is not None:
                process.kill()
        return process

    def _asked(self, process: subprocess.Popen[bytes], plan: Plan) -> dict[str, Any] | None:
        """Send the order and its tables; what comes back, None where nothing does. Raises ViewError, SqlTooLarge."""
        outgoing, incoming = cast(BinaryIO, process.stdin), cast(BinaryIO, process.stdout)
        # A process that has answered before it took everything closes its side: its answer says why.
        with suppress(BrokenPipeError, ConnectionResetError):
            write_document(outgoing, self._order(plan))
            self._send_tables(outgoing, plan)
            outgoing.flush()
        try:
            return read_document(incoming)
        except (EOFError, OSError):
            return None

    def _order(self, plan: Plan) -> dict[str, Any]:
        question = self._question
        return {
            "sql": question.text,
            "form": question.form.value,
            "functions": sorted(question.functions),
            "rows_max": question.rows_max,
            "bytes_max": RESULT_BYTES_MAX,
            "memory_mb": question.limits.memory_mb,
            "prepare": _macros(self._clock_ns()),
            "tables": [{"base": scan.base, "streamed": scan.streamed} for scan in plan.scans],
            "views": [*_current_steps(plan), *plan.views],
        }

    def _send_tables(self, outgoing: BinaryIO, plan: Plan) -> None:
        with self._engine.snapshot() as cursor:
            with self._lock:
                self._cursor = cursor
            try:
                ids = {place: set[str]() for scan in plan.scans for place in scan.texts_of}
                for scan in plan.scans:
                    self._send(cursor, outgoing, scan, ids)
            finally:
                with self._lock:
                    self._cursor = None

    def _send(
        self,
        cursor: duckdb.DuckDBPyConnection,
        outgoing: BinaryIO,
        scan: Scan,
        ids: dict[tuple[str, str], set[str]],
    ) -> None:
        """Stream one table. Nothing is held of it but the ids of content that is still to be looked up."""
        parameters: dict[str, Any] = {"tenant": self._tenant}
        for name, value in scan.parameters.items():
            bound = self._traces_of(cursor, name, value) if isinstance(value, OfRuns) else {name: value}
            parameters |= {one: of for one, of in bound.items() if f"${one}" in scan.sql}
        if scan.texts_of:
            parameters["ids"] = sorted(set[str]().union(*(ids[place] for place in scan.texts_of)))
        with closing(cursor.sql(scan.sql, params=parameters).to_arrow_reader(_BATCH_ROWS)) as reader:
            batches: Iterator[Any] = _each_once(reader) if scan.texts_of else iter(reader)
            with pyarrow.ipc.new_stream(outgoing, reader.schema) as writer:
                for batch in batches:
                    self._note(scan, batch, ids)
                    writer.write_batch(batch)

    def _traces_of(self, cursor: duckdb.DuckDBPyConnection, name: str, runs: OfRuns) -> dict[str, Any]:
        """The traces of some runs, and where they begin and end, each under the name that the scan binds it by."""
        asked = {"tenant": self._tenant, "run_ids": list(runs.run_ids)}
        [(traces, first, last)] = cursor.execute(sql("select_traces_of_runs"), asked).fetchall()
        return {name: traces, f"{name}_first": first, f"{name}_last": last}

    def _note(self, scan: Scan, batch: Any, ids: dict[tuple[str, str], set[str]]) -> None:
        """Remember the ids of content in a batch. Raises SqlTooLarge."""
        for (base, column), found in ids.items():
            if base == scan.base:
                values = batch.column(column)
                values = values.flatten() if pa.types.is_list(values.type) else values
                found.update(value for value in values.unique().to_pylist() if value is not None)
        if sum(map(len, ids.values())) > CONTENTS_MAX:
            raise SqlTooLarge(
                f"the statement reads the texts of more than {CONTENTS_MAX} pieces of content; narrow it, "
                "as by run_id or a time, or select content ids and look those up that matter"
            )

    def _judged(self, process: subprocess.Popen[bytes], told: dict[str, Any]) -> SqlAnswer:
        match told.get("error"):
            case None:
                pass
            case "too_large":
                raise self._too_large()
            case "not_allowed":
                raise SqlNotAllowed(f"the statement may not contain {told['message']}; docs/sql.md says what it may")
            case _:
                raise SqlFailed(told["message"])
        try:
            body = read_exactly(cast(BinaryIO, process.stdout), told["bytes"])
        except (EOFError, OSError):
            raise self._gone(process) from None
        return SqlAnswer(body=body, rows=told["rows"], truncated=told["truncated"])

    def _gone(self, process: subprocess.Popen[bytes]) -> StoreError:
        """Why the process is not there any more. One that the kernel ended wanted more than it may have."""
        if self._ended is SqlTimeout:
            return SqlTimeout(
                f"the statement took longer than {self._question.limits.seconds:g} s and was ended; read less, as by a "
                "condition on run_id or on a time, and name the columns instead of *"
            )
        if self._ended is SqlCancelled:
            return SqlCancelled("the statement was cancelled")
        status = process.wait(_END_SECONDS)
        return (
            self._too_large() if status < 0 else ViewError(f"the process of the statement ended with status {status}")
        )

    def _too_large(self) -> SqlTooLarge:
        return SqlTooLarge(
            f"the statement needs more than {self._question.limits.memory_mb} MiB; read less, as by a condition on "
            "run_id or on a time, name the columns instead of *, or group before you sort or join"
        )


def _each_once(reader: Any) -> Iterator[Any]:
    """Content with each id once: a piece may stand twice in the table."""
    seen: set[str] = set()
    for batch in reader:
        ids = batch.column("content_id").to_pylist()
        fresh = [one not in seen and not seen.add(one) for one in ids]
        yield batch if all(fresh) else batch.filter(pa.array(fresh, pa.bool_()))


def _current_steps(plan: Plan) -> list[tuple[str, str]]:
    if not any(scan.base == "base_step_versions" for scan in plan.scans):
        return []
    text = "SELECT v.* FROM base_step_versions AS v ANTI JOIN base_superseded USING (trace_id, span_id, revision)"
    return [(CURRENT_STEPS, text)]


def _macros(now_ns: int) -> list[str]:
    """What the views' expressions call. The rules are `store.model.runs.status_at` and `store.model.times`."""
    return [
        "CREATE MACRO time_of(ns) AS CASE WHEN ns > 0 THEN make_timestamp_ns(ns) END",
        "CREATE MACRO took_ns(start_ns, end_ns) AS CASE WHEN start_ns > 0 AND end_ns > 0 "
        "THEN greatest(end_ns - start_ns, 0) END",
        f"CREATE MACRO alive(received_ns, event_ns) AS "
        f"coalesce({now_ns} - least(received_ns, event_ns + {CLOCK_SKEW_NS}) < {IDLE_NS}, false)",
        "CREATE MACRO run_status(status, open_reason, received_ns, event_ns) AS CASE WHEN open_reason IS NULL THEN status "
        "WHEN alive(received_ns, event_ns) THEN 'running' WHEN open_reason = 'missing_root' THEN 'incomplete' "
        "ELSE 'abandoned' END",
    ]
