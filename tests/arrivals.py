"""A capture that arrives otherwise than it was sent: its records in other bodies, in another order, some of them twice.

`records_of` takes the bodies of a capture apart down to single spans, log records and data points; an `Arrival` says in
which bodies and in which order they come, how often, and where the reader of the journal catches up or the process is
started anew; `arrived` lets them come through the intake into a ledger. `answers` is all that a reader tells of a tenant.

Two things are told by the arrival itself, and are left out: when a record came, and its place in the journal. One thing is
decided by the body: equal log records in one body are as many events, in two bodies they are one that was sent again. So
equal ones stay together here, however the rest is split.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from collector.boundary import PassThrough
from collector.intake import Intake
from collector.metrics import IngestMetrics
from store.contract import (
    LIMIT_MAX,
    AgentFilter,
    EvaluationFilter,
    EventFilter,
    MetricFilter,
    Page,
    PromptFilter,
    Reader,
    RunFilter,
    ToolFilter,
)
from store.ledger import Ledger
from store.model.rows import MessageRow, ReplayEvent, StepDetail
from store.record import DEFAULT_TENANT, Position, Signal
from tests.captured import PROJECTED_WITHIN_SECONDS, REQUESTS, bodies

LEVELS = {
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
    Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
}
OF_THE_ARRIVAL = frozenset({"position", "received_at", "ordinal"})
DIMENSIONS = {
    "evaluations": EvaluationFilter(), "agents": AgentFilter(), "tools": ToolFilter(), "prompts": PromptFilter(),
}  # fmt: skip
LISTS_OF_A_RUN = ("tool_calls", "decisions", "messages")
ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
RESTARTS_MAX = 2
WAITS_MAX = 4
REPEATS_MAX = 4
DETAILS = 1  # Every attribute of every step would take most of the time; `test_captures.py` asks for them.


@dataclass(frozen=True)
class Record:
    """A span, a data point with its metric, or as many equal log records as a body of the capture had of them.

    `outer` and `inner` are what encloses it, serialised without anything inside.
    """

    signal: Signal
    outer: bytes
    inner: bytes
    one: bytes
    equal: int = 1


@cache
def records_of(name: str) -> tuple[Record, ...]:
    """The distinct records of a capture in the order they were sent."""
    found: dict[Record, int] = {}
    for body in bodies(name):
        for record, count in Counter(_records(body.signal, body.request)).items():
            found[record] = max(found.get(record, 0), count if body.signal is Signal.LOGS else 1)
    return tuple(
        Record(record.signal, record.outer, record.inner, record.one, equal) for record, equal in found.items()
    )


def _records(signal: Signal, request: Any) -> Iterator[Record]:
    outers, inners, ones = LEVELS[signal]
    for outer in getattr(request, outers):
        around = _without(outer, inners)
        for inner in getattr(outer, inners):
            scope = _without(inner, ones)
            for one in getattr(inner, ones):
                for single in _points(one) if signal is Signal.METRICS else [one]:
                    yield Record(signal, around, scope, single.SerializeToString(deterministic=True))


def _without(message: Any, field_name: str) -> bytes:
    bare = type(message)()
    bare.CopyFrom(message)
    bare.ClearField(field_name)
    return bare.SerializeToString(deterministic=True)


def _points(metric: Any) -> Iterator[Any]:
    """The same metric once for each of its data points, with that one alone."""
    kind = metric.WhichOneof("data")
    for point in getattr(metric, kind).data_points if kind else ():
        alone = type(metric)()
        alone.CopyFrom(metric)
        del getattr(alone, kind).data_points[:]
        getattr(alone, kind).data_points.add().CopyFrom(point)
        yield alone


def requests_of(records: Sequence[Record]) -> Iterator[tuple[Signal, bytes]]:
    """The records as request bodies, one for each signal among them, everything in the order given.

    Records of two resources that come in turns make resources in turns: nothing is sorted together.
    """
    for signal in dict.fromkeys(record.signal for record in records):
        outers, inners, ones = LEVELS[signal]
        request = REQUESTS[signal]()
        of_signal = [record for record in records if record.signal is signal]
        for around, of_resource in groupby(of_signal, key=lambda record: record.outer):
            outer = getattr(request, outers).add()
            outer.ParseFromString(around)
            for scope, of_scope in groupby(of_resource, key=lambda record: record.inner):
                inner = getattr(outer, inners).add()
                inner.ParseFromString(scope)
                for record in of_scope:
                    for _ in range(record.equal):
                        getattr(inner, ones).add().ParseFromString(record.one)
        yield signal, request.SerializeToString()


# How it arrives


@dataclass(frozen=True)
class Arrival:
    """Groups of records (by their number in the capture) in the order they come; a group is one body a signal.

    `waits` and `restarts` are the numbers of groups before which the view catches up, or the ledger is closed and opened.
    """

    groups: list[list[int]]
    waits: frozenset[int] = field(default_factory=frozenset[int])
    restarts: frozenset[int] = field(default_factory=frozenset[int])


@st.composite
def arrivals(draw: st.DrawFn, records: int) -> Arrival:
    """Every record at least once: cut into groups anywhere, in any order, some groups again at once or later."""
    order = draw(st.permutations(range(records)))
    groups: list[list[int]] = []
    while order:
        size = draw(st.integers(1, len(order)))
        groups.append(list(order[:size]))
        order = order[size:]
    for _ in range(draw(st.integers(0, REPEATS_MAX))):
        sent = draw(st.integers(0, len(groups) - 1))
        groups.insert(draw(st.integers(sent + 1, len(groups))), groups[sent])
    places = st.integers(1, len(groups))
    return Arrival(
        groups,
        waits=draw(st.frozensets(places, max_size=WAITS_MAX)),
        restarts=draw(st.frozensets(places, max_size=RESTARTS_MAX)),
    )


def shuffled(records: int, random: Random) -> Arrival:
    """Such an arrival, the same in every run: never the plain one, and always with something again and a restart."""
    order = random.sample(range(records), records)
    groups: list[list[int]] = []
    while order:
        size = random.randint(1, len(order))
        groups.append(order[:size])
        order = order[size:]
    for _ in range(random.randint(1, REPEATS_MAX)):
        sent = random.randrange(len(groups))
        groups.insert(random.randint(sent + 1, len(groups)), groups[sent])
    places = range(1, len(groups))
    return Arrival(
        groups,
        waits=frozenset(random.sample(places, random.randint(0, min(len(places), WAITS_MAX)))),
        restarts=frozenset(random.sample(places, 1)),
    )


@contextmanager
def arrived(
    records: Sequence[Record], how: Arrival, data: Path, *, tenants: Sequence[str] = (DEFAULT_TENANT,)
) -> Iterator[Reader]:
    """The reader of a ledger in `data`, when the records have come for each tenant and all of them are in the view."""
    ledger = Ledger.open(data)
    try:
        last: Position | None = None
        for number, group in enumerate(how.groups):
            if number in how.waits:
                _catch_up(ledger, last)
            if number in how.restarts:
                ledger.close()
                ledger = Ledger.open(data)
            intake = Intake(ledger.journal, metrics=IngestMetrics(CollectorRegistry()), boundary=PassThrough())
            for signal, body in requests_of([records[index] for index in group]):
                for tenant in tenants:
                    outcome = intake.accept(signal, body, tenant=tenant)
                    assert (outcome.refused, outcome.message) == (0, "")
                    last = outcome.position
        _catch_up(ledger, last)
        yield ledger.reader
    finally:
        ledger.close()


def as_sent(records: Sequence[Record]) -> Arrival:
    """All at once, in one body a signal."""
    return Arrival([list(range(len(records)))])


def _catch_up(ledger: Ledger, position: Position | None) -> None:
    if position is not None:
        assert ledger.waiter.wait_for(position, PROJECTED_WITHIN_SECONDS)


# What is answered


def _asking(reader: Reader, tenant: str, question: str, where: Any) -> Callable[[str | None], Page[Any]]:
    return lambda cursor: getattr(reader, question)(tenant, where, limit=LIMIT_MAX, cursor=cursor)


def answers(reader: Reader, tenant: str, *, details: int | None = None) -> dict[str, Any]:
    """All that a reader tells of a tenant, as JSON would say it, by question and what it was asked about.

    `details`: of how many steps of each run every attribute is asked for; None for all, which takes most of the time.
    """
    runs = _pages(lambda cursor: reader.runs(tenant, RunFilter(), limit=LIMIT_MAX, cursor=cursor))
    told: dict[str, Any] = {"runs": [*map(_plain, runs)]}
    for run in runs:
        run_id = run.run_id
        steps = _pages(lambda cursor, of=run_id: reader.steps(tenant, of, limit=LIMIT_MAX, cursor=cursor, inline=True))
        told[f"steps of {run_id}"] = [*map(_plain, steps)]
        for step in steps[:details]:
            told[f"step {step.step_id}"] = _plain(reader.step(tenant, step.step_id))
        for question in (*LISTS_OF_A_RUN, "replay"):
            told[f"{question} of {run_id}"] = [*map(_plain, getattr(reader, question)(tenant, run_id))]
        for known_as in (*run.trace_ids, *(segment.segment_id for segment in run.segments)):
            told[f"run {known_as}"] = _plain(reader.run(tenant, known_as))
    messages = [message for key, rows in told.items() if key.startswith("messages") for message in rows]
    for content_id in dict.fromkeys(message["content_id"] for message in messages):
        told[f"content {content_id}"] = _plain(reader.content(tenant, content_id))
    # Of the same time, these come in the order of their arrival.
    events = _pages(lambda cursor: reader.events(tenant, EventFilter(), limit=LIMIT_MAX, cursor=cursor))
    points = _pages(lambda cursor: reader.metric_points(tenant, MetricFilter(), limit=LIMIT_MAX, cursor=cursor))
    told["events"] = sorted(map(_plain, events), key=_by_its_words)
    told["metric_points"] = sorted(map(_plain, points), key=_by_its_words)
    for question, where in DIMENSIONS.items():
        rows = [_plain(row) for row in _pages(_asking(reader, tenant, question, where))]
        told[question] = sorted(rows, key=_by_its_words)
    told["new_steps"] = sorted(map(_plain, reader.new_steps(tenant, None, limit=LIMIT_MAX)), key=_by_its_words)
    return told


def told_of(records: Sequence[Record], how: Arrival) -> dict[str, Any]:
    """What a reader tells when they have come so."""
    with (
        TemporaryDirectory(prefix="spanledger-arrival-") as folder,
        arrived(records, how, Path(folder) / "data") as reader,
    ):
        return answers(reader, DEFAULT_TENANT, details=DETAILS)


@cache
def expected(name: str) -> dict[str, Any]:
    """What is told of a capture that comes at once, in the order it was sent."""
    return told_of(records_of(name), as_sent(records_of(name)))


def difference(one: Any, other: Any, where: str = "") -> str | None:
    """Where two answers first differ, in words; None where they do not."""
    if isinstance(one, dict) and isinstance(other, dict):
        lacking = one.keys() ^ other.keys()
        if lacking:
            return f"{where}: only one of them has {sorted(lacking)[:3]}"
        return next(filter(None, (difference(one[key], other[key], f"{where}/{key}") for key in one)), None)
    if isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return f"{where}: {len(one)} and {len(other)} rows"
        pairs = enumerate(zip(one, other, strict=True))
        return next(filter(None, (difference(a, b, f"{where}/{index}") for index, (a, b) in pairs)), None)
    return None if one == other else f"{where}: {one!r} and {other!r}"


def ids(told: dict[str, Any]) -> list[str]:
    """Everything in the answers that looks like an id of ours or of a trace, as it first appears."""
    return list(dict.fromkeys(ID.findall(json.dumps(told))))


def renamed(told: dict[str, Any], kept: Collection[str]) -> dict[str, Any]:
    """The answers with their ids numbered as they first appear, but for those in `kept`."""
    numbers = {found: f"id {number}" for number, found in enumerate(ids(told)) if found not in kept}
    return json.loads(ID.sub(lambda found: numbers.get(found[0], found[0]), json.dumps(told)))


def _pages(ask: Callable[[str | None], Page[Any]]) -> list[Any]:
    found: list[Any] = []
    cursor: str | None = None
    while True:
        page = ask(cursor)
        found += page.rows
        if (cursor := page.next_cursor) is None:
            return found


def _plain(row: Any) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.to_builtins(row)
    match row:
        case ReplayEvent() | MessageRow():
            return said  # Their position and ordinal are places in the run.
        case StepDetail():
            span = {key: value for key, value in said["span"].items() if key not in OF_THE_ARRIVAL}
            return said | {"step": _plain(row.step), "span": span}
        case _:
            return {key: value for key, value in said.items() if key not in OF_THE_ARRIVAL}


def _by_its_words(row: Any) -> tuple[str, str]:
    said = json.dumps(row, sort_keys=True)
    return ID.sub("", said), said  # By ids last, because they are other ones for another tenant.
