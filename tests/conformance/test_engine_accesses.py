"""Access records: of one tenant, filtered as their filters say, the latest in the record first, page by page."""

from dataclasses import replace

import pytest

from store.access_records import AccessRecord, access_draft
from store.contract import AccessFilter, RunFilter
from store.errors import BadQuery
from store.projection import Projection
from tests.conformance.engines import NOON_NS, SECOND_NS, flat, pages
from tests.store.ledger_bench import captures, draft_of, frames_of

DEMO = "spanledger-demo"
RECORDS = [
    AccessRecord(
        at_ns=NOON_NS + number * SECOND_NS,
        who=f"key:{'ab'[number % 2]}",
        action=("read", "replay", "enter")[number % 3],
        outcome="refused" if number % 3 == 2 else "allowed",
        door="api",
        run_id=f"run-{number}",
    )
    for number in range(40)
]


def record(bench, *frames):
    drafts = [access_draft(tenant, records) for tenant, records in frames]
    projection = Projection(bench.writer)
    bench.writer.write(projection.project(frames_of(drafts)))


@pytest.fixture
def kept(bench):
    """Forty records of tenant `a` in frames of eight, and as many of `b` between them."""
    eights = [RECORDS[at : at + 8] for at in range(0, 40, 8)]
    record(bench, *[(tenant, eight) for eight in eights for tenant in "ab"])
    return bench


def asked(bench, tenant="a", *, limit=1000, cursor=None, **where):
    return bench.reader.accesses(tenant, AccessFilter(**where), limit=limit, cursor=cursor)


@pytest.mark.parametrize("limit", [1, 7, 8, 1000])
def test_following_the_cursors_gives_each_record_once_the_latest_first(kept, limit):
    found = flat(pages(lambda cursor: asked(kept, limit=limit, cursor=cursor)))
    assert [row.run_id for row in found] == [one.run_id for one in reversed(RECORDS)]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"who": "key:a"}, lambda one: one.who == "key:a"),
        ({"action": "replay"}, lambda one: one.action == "replay"),
        ({"outcome": "refused"}, lambda one: one.outcome == "refused"),
        ({"since_ns": RECORDS[10].at_ns}, lambda one: one.at_ns >= RECORDS[10].at_ns),
        ({"until_ns": RECORDS[10].at_ns}, lambda one: one.at_ns < RECORDS[10].at_ns),
        ({"run": "run-7"}, lambda one: one.run_id == "run-7"),
        ({"who": "key:a", "outcome": "refused"}, lambda one: one.who == "key:a" and one.outcome == "refused"),
        ({"who": "nobody"}, lambda _: False),
    ],
)  # fmt: skip
def test_a_filter_keeps_what_it_says_and_conditions_hold_together(kept, where, expected):
    assert [row.run_id for row in asked(kept, **where).rows] == [
        one.run_id for one in reversed(RECORDS) if expected(one)
    ]


def test_a_run_is_found_by_any_of_its_ids(bench):
    bodies = [draft_of(body, "a") for body in captures()[DEMO]]
    projection = Projection(bench.writer)
    bench.writer.write(projection.project(frames_of(bodies)))
    run = max(bench.reader.runs("a", RunFilter(), limit=10, cursor=None).rows, key=lambda row: len(row.trace_ids))
    assert len(run.trace_ids) > 1
    read = [replace(RECORDS[0], run_id=one) for one in (run.run_id, *run.trace_ids, "another")]
    frames = frames_of([*bodies, access_draft("a", read), access_draft("b", read)])
    bench.writer.write(projection.project(frames[-2:]))
    for one in (run.run_id, *run.trace_ids):
        found = {row.run_id for row in asked(bench, run=one).rows}
        assert found == {run.run_id, *run.trace_ids}


def test_another_tenant_s_records_are_not_there(kept):
    assert not asked(kept, "c").rows
    assert len(asked(kept, "b").rows) == 40


@pytest.mark.parametrize("cursor", ["", "x", "W10", "WyJhIiwgMV0", "WzEsLTFd", "WzE4NDQ2NzQ0MDczNzA5NTUxNjE2LCAxXQ"])
def test_a_cursor_that_the_list_did_not_give_is_refused_by_name(kept, cursor):
    with pytest.raises(BadQuery) as refused:
        asked(kept, cursor=cursor)
    assert refused.value.parameter == "cursor"
