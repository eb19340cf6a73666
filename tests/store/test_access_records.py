"""Access records: a line each in frames of their own, found again in the view, and never taken for load."""

import hashlib
import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from store.access_records import (
    RECORDS_MAX,
    AccessRecord,
    access_draft,
    accesses_of,
    digest_of_filter,
    digest_of_ids,
    line_of,
)
from store.backlog import Backlog, Load, estimated_load
from store.backup import back_up
from store.contract import AccessFilter
from store.errors import JournalFull, JournalVersionUnknown, MalformedAccess
from store.journal import format as journal_format
from store.journal.format import Part, StoredBody, locate_frame, pack_frame, unpack_frame
from store.journal.journal import Journal
from store.ledger import Ledger, rebuild
from store.otlp.leaves import root_of
from store.pace import FULL_FRAMES
from store.record import DEFAULT_TENANT, FrameType, Signal
from store.view import SCHEMA_VERSION
from tests.patience import BUSY_SECONDS
from tests.store.ledger_bench import NOON_NS, captures, draft_of, frames_of, settled_digests

READ = AccessRecord(
    at_ns=NOON_NS, who="key:ab12cd34", key_prefix="ab12cd34", role="auditor", peer="127.0.0.1", door="api",
    action="replay", call="GET /v1/runs/{run_id}/replay", run_id="r1", outcome="allowed", purpose="incident 7",
)  # fmt: skip
TEXT = st.text(max_size=40)


def accesses(ledger: Ledger, tenant: str = DEFAULT_TENANT, **where):
    return ledger.reader.accesses(tenant, AccessFilter(**where), limit=100, cursor=None).rows


def test_a_record_is_one_line_of_canonical_json_without_what_is_empty():
    assert line_of(READ) == (
        b'{"action":"replay","at_ns":1780000000000000000,"call":"GET /v1/runs/{run_id}/replay","count":1,"door":"api",'
        b'"key_prefix":"ab12cd34","outcome":"allowed","peer":"127.0.0.1","purpose":"incident 7","role":"auditor",'
        b'"run_id":"r1","who":"key:ab12cd34"}'
    )


@given(
    st.lists(
        st.builds(
            AccessRecord,
            at_ns=st.integers(0, 2**62), who=TEXT, action=TEXT, outcome=st.sampled_from(["allowed", "refused"]),
            door=TEXT, purpose=st.none() | TEXT.filter(bool), run_id=st.none() | TEXT.filter(bool),
            content_ids=st.lists(TEXT, max_size=3).map(tuple), filters=st.lists(TEXT, max_size=3).map(tuple),
            detail=st.dictionaries(TEXT, TEXT, max_size=3), count=st.integers(1, 2**40), rows=st.integers(0, 9),
        ),
        min_size=1, max_size=5,
    )
)  # fmt: skip
def test_what_was_written_is_read_back_whatever_text_is_in_it(records):
    [frame] = frames_of([access_draft("acme", records)])
    assert [one.record for one in accesses_of(frame)] == records
    assert [one.ordinal for one in accesses_of(frame)] == list(range(len(records)))


def test_the_root_of_a_frame_is_over_the_lines_as_anybody_can_compute_it():
    draft = access_draft("acme", [READ, replace(READ, run_id="r2"), replace(READ, run_id="r3")])
    leaves = [hashlib.sha256(b"\x00" + line).digest() for line in draft.body.split(b"\n")[:-1]]
    assert draft.leaves == tuple(leaves)
    left = hashlib.sha256(b"\x01" + leaves[0] + leaves[1]).digest()
    assert root_of(draft.leaves) == hashlib.sha256(b"\x01" + left + leaves[2]).digest()


@pytest.mark.parametrize("number", [0, RECORDS_MAX + 1])
def test_a_frame_without_records_or_with_too_many_is_not_made(number):
    with pytest.raises(ValueError, match="access records"):
        access_draft("acme", [READ] * number)


def test_a_frame_of_access_has_no_signal_and_one_of_telemetry_has_one():
    [frame] = frames_of([access_draft("acme", [READ])])
    data = memoryview(pack_frame(frame, StoredBody(len(frame.body), b"stored", Part.BEGINS), begins_commit=True))
    place = locate_frame(data, 0, "x")
    assert place is not None
    found = unpack_frame(data, place, "x")
    assert (found.type, found.signal, data[6]) == (FrameType.ACCESS, None, 0)
    for broken in (replace(frame, signal=Signal.LOGS), replace(frame, type=FrameType.OTLP)):
        wrong = memoryview(pack_frame(broken, StoredBody(1, b"s", Part.BEGINS), begins_commit=True))
        with pytest.raises(JournalVersionUnknown, match="does not know"):
            unpack_frame(wrong, locate_frame(wrong, 0, "x"), "x")
    assert journal_format.FRAME_VERSION == 1


def test_digests_do_not_depend_on_order_and_tell_apart_what_differs():
    assert digest_of_ids(["b", "a"]) == digest_of_ids(["a", "b"]) == hashlib.sha256(b"a\nb\n").hexdigest()
    assert digest_of_filter({"q": "x", "agent": "y"}.items()) == digest_of_filter({"agent": "y", "q": "x"}.items())
    assert digest_of_filter([("q", "x")]) != digest_of_filter([("agent", "x")])


def test_records_are_in_the_view_of_their_tenant_alone_and_a_rebuild_gives_them_again(tmp_path):
    data = tmp_path / "data"
    ledger = Ledger.open(data)
    for body in captures()["spanledger-demo"]:
        ledger.append(draft_of(body))
    ledger.record("acme", [READ, replace(READ, run_id="r2", content_ids=("c1", "c2"), content_count=2, rows=3)])
    last = ledger.record(DEFAULT_TENANT, [replace(READ, who="open", detail={"a": "b"}, filters=("q",))]).result()
    assert ledger.waiter.wait_for(last, BUSY_SECONDS)
    [mine] = accesses(ledger)
    theirs = accesses(ledger, "acme")
    assert (mine.who, mine.detail, mine.filters, mine.position) == ("open", {"a": "b"}, ["q"], str(last))
    assert [row.run_id for row in theirs] == ["r2", "r1"]
    assert (theirs[0].content_ids, theirs[0].content_count, theirs[0].rows) == (["c1", "c2"], 2, 3)
    live = settled_digests(ledger._engine)
    ledger.close()
    assert rebuild(data).digests == live
    back_up(data, tmp_path / "copy")
    assert rebuild(tmp_path / "copy").digests == live
    assert live["access_records"] != live["quarantine"]


def test_a_record_that_was_written_twice_counts_once_wherever_the_batches_end(tmp_path):
    once = replace(READ, access_id="change-1", action="key_revoke")
    ledger = Ledger.open(tmp_path)
    ledger.record("acme", [once, once]).result()
    position = ledger.record("acme", [once]).result()
    assert ledger.waiter.wait_for(position, BUSY_SECONDS)
    ledger.close()
    ledger = Ledger.open(tmp_path)
    position = ledger.record("acme", [once, replace(once, access_id="change-2")]).result()
    assert ledger.waiter.wait_for(position, BUSY_SECONDS)
    assert [row.action for row in accesses(ledger, "acme")] == ["key_revoke"] * 2
    live = settled_digests(ledger._engine)
    ledger.close()
    assert rebuild(tmp_path).digests == live


def test_a_frame_that_cannot_be_read_is_quarantined_under_its_name_and_stops_nobody(tmp_path):
    good = access_draft("acme", [READ])
    ledger = Ledger.open(tmp_path)
    ledger.journal.append(replace(good, body=b"{nonsense\n"))
    ledger.journal.append(replace(good, body=good.body * 2))
    position = ledger.journal.append(good)
    assert ledger.waiter.wait_for(position, BUSY_SECONDS)
    assert len(accesses(ledger, "acme")) == 1
    found = ledger._engine.rows("SELECT signal, error FROM quarantine ORDER BY sequence")
    ledger.close()
    assert [row["signal"] for row in found] == ["access", "access"]
    assert all(MalformedAccess.__name__ in row["error"] for row in found)


def test_records_are_neither_load_nor_spans(tmp_path):
    registry = CollectorRegistry()
    ledger = Ledger.open(tmp_path, registry=registry)
    position = ledger.record("acme", [READ] * RECORDS_MAX).result()
    assert ledger.lag_bytes(1) == 0
    assert ledger.waiter.wait_for(position, BUSY_SECONDS)
    page = generate_latest(registry).decode()
    ledger.close()
    assert "spanledger_steps_total{" not in page
    assert "spanledger_projection_lag_bytes 0.0" in page


def test_many_records_teach_nothing_of_the_pace_of_spans():
    now = [0.0]
    backlog = Backlog(reached=0, durable=0, inherited=Load(), clock=lambda: now[0])
    sequence = 0
    for _ in range(4):
        for _ in range(FULL_FRAMES):
            sequence += 1
            backlog.appended(sequence, 1000, 1)
        now[0] += 1.0
        backlog.projected(sequence)
    rate = backlog._pace.rate
    assert rate
    for _ in range(50):
        sequence += FULL_FRAMES
        now[0] += 1.0
        backlog.projected(sequence)
    assert backlog._pace.rate == rate
    sequence += 1
    backlog.appended(sequence, 77, 1)
    assert backlog.total_bytes == 77


def test_what_is_estimated_at_a_start_leaves_records_out():
    drafts = [draft_of(captures()["spanledger-demo"][0]), access_draft("acme", [READ] * 100)]
    assert estimated_load(frames_of(drafts), 2).size == len(drafts[0].body)


def test_records_share_a_group_commit(tmp_path, monkeypatch):
    syncs: list[float] = []
    journal = Journal(tmp_path, on_fsync=syncs.append)
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: (time.sleep(0.01), real(descriptor)))
    with ThreadPoolExecutor(16) as readers:
        list(readers.map(lambda _: journal.append(access_draft("acme", [READ])), range(160)))
    journal.close()
    assert len(syncs) < 80


def test_where_a_whole_segment_has_no_room_a_small_one_takes_who_read_what(tmp_path):
    """On a disk that is full for telemetry: the reserve that ingest leaves need not be a segment large."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=38m", "tmpfs", place]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can only be mounted by root")
    try:
        journal = Journal(place / "journal")
        telemetry = draft_of(captures()["spanledger-demo"][0])
        read = access_draft("acme", [READ])
        journal.append(replace(telemetry, body=os.urandom(20_000_000)))
        with pytest.raises(JournalFull):
            journal.append(replace(telemetry, body=os.urandom(20_000_000)))
        journal.append(replace(read, body=os.urandom(13_000_000)))
        assert journal.append(replace(read, body=os.urandom(600_000))).sequence == 3
        with pytest.raises(JournalFull):
            journal.append(replace(telemetry, body=os.urandom(2_000_000)))
        assert journal.append(replace(read, body=os.urandom(600_000))).sequence == 4
        journal.close()
        journal = Journal(place / "journal")
        assert [frame.sequence for frame in journal.frames_after(0)] == [1, 2, 3, 4]
        journal.close()
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_view_of_before_is_made_again_with_them(tmp_path):
    ledger = Ledger.open(tmp_path)
    position = ledger.record("acme", [READ]).result()
    assert ledger.waiter.wait_for(position, BUSY_SECONDS)
    with ledger._engine.transaction() as cursor:
        cursor.execute("DROP TABLE access_records")
        cursor.execute("UPDATE meta SET schema_version = $version", {"version": SCHEMA_VERSION - 1})
    ledger.close()
    ledger = Ledger.open(tmp_path)
    assert ledger.waiter.wait_for(position, BUSY_SECONDS)
    [row] = accesses(ledger, "acme")
    ledger.close()
    assert row.run_id == "r1"


def test_the_body_is_lines_that_any_program_reads():
    body = access_draft("acme", [READ, replace(READ, purpose="zwei\nZeilen \u2028 hier")]).body
    assert [json.loads(line)["purpose"] for line in body.decode().split("\n")[:-1]] == [
        "incident 7",
        "zwei\nZeilen \u2028 hier",
    ]
