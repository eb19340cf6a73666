"""A view can be made again from the journal at any time, and is the same in every byte."""

from pathlib import Path

import pytest

from store import ledger as ledger_module
from store.contract import RunFilter
from store.errors import DataFolderLocked, JournalCorrupt, ViewError
from store.folder import JOURNAL, VIEW, FolderLock, running_server
from store.ledger import Ledger, rebuild
from store.model.prices import Prices, read_prices
from store.projection import Projection
from store.record import FrameDraft, Signal
from tests.patience import BUSY_SECONDS
from tests.store.ledger_bench import captures, draft_of, every_body, settled_digests
from tests.store.spans import spans_body

GARBAGE = FrameDraft("a", Signal.LOGS, b"\x0a\xff", (b"\x00" * 32,))
DEMO = [draft_of(body) for body in captures()["spanledger-demo"]]


def recorded(data: Path, drafts: list[FrameDraft], *, one_by_one: bool = False) -> dict[str, str]:
    """The digests of the live view once these drafts are in it."""
    ledger = Ledger.open(data)
    try:
        for draft in drafts:
            position = ledger.journal.append(draft)
            if one_by_one:
                assert ledger.waiter.wait_for(position, BUSY_SECONDS)
        assert ledger.waiter.wait_for(position, 60)
        return settled_digests(ledger._engine)
    finally:
        ledger.close()


@pytest.mark.parametrize("one_by_one", [True, False], ids=["many small batches", "as they come"])
def test_every_capture_of_two_tenants_is_rebuilt_to_the_same_digests(tmp_path, one_by_one):
    drafts = [draft_of(body, "ab"[number % 2]) for number, body in enumerate(every_body())]
    live = recorded(tmp_path, drafts, one_by_one=one_by_one)
    rebuilt = rebuild(tmp_path)
    assert rebuilt.digests == live
    assert (rebuilt.frames, rebuilt.quarantined) == (len(drafts), 0)
    assert len(set(live.values())) >= len(live) - 2, "only superseded and quarantine have nothing to say"
    assert rebuild(tmp_path).digests == live


@pytest.mark.parametrize("name", ["claude-agent-sdk-0.2.184", "dbos-3.4", "spanledger-demo"])
def test_each_capture_alone_is_rebuilt_to_the_same_digests(tmp_path, name):
    live = recorded(tmp_path, [draft_of(body) for body in captures()[name]], one_by_one=True)
    assert rebuild(tmp_path).digests == live


def test_a_rebuild_tells_its_progress_up_to_the_last_frame(tmp_path):
    recorded(tmp_path, DEMO)
    heard: list[tuple[int, int]] = []
    rebuild(tmp_path, progress=lambda done, of: heard.append((done, of)))
    assert heard[-1] == (len(DEMO), len(DEMO))


def test_a_rebuild_tries_quarantined_frames_again(tmp_path, monkeypatch):
    project = Projection.read

    def fail_on_the_third(self, frames):
        if any(frame.sequence == 3 for frame in frames):
            raise KeyError("a defect that a later release has mended")
        return project(self, frames)

    with monkeypatch.context() as broken:
        broken.setattr(Projection, "read", fail_on_the_third)
        before = recorded(tmp_path / "broken", [*DEMO, GARBAGE])
    good = recorded(tmp_path / "good", [*DEMO, GARBAGE])
    rebuilt = rebuild(tmp_path / "broken")
    assert rebuilt.quarantined == 1
    assert rebuilt.digests["steps"] != before["steps"]
    # Receive times differ between two recordings; what does not hold any must be equal.
    for table in ("contents", "tool_calls", "decisions"):
        assert rebuilt.digests[table] == good[table]
    ledger = Ledger.open(tmp_path / "broken")
    assert ledger.waiter.readiness()["quarantined_frames"] == 1
    ledger.close()


def test_an_empty_record_is_rebuilt_to_an_empty_view(tmp_path):
    rebuilt = rebuild(tmp_path)
    assert (rebuilt.frames, rebuilt.quarantined) == (0, 0)
    ledger = Ledger.open(tmp_path)
    assert ledger.reader.runs("default", RunFilter(), limit=10, cursor=None).rows == []
    assert settled_digests(ledger._engine) == rebuilt.digests
    ledger.close()


def test_a_rebuild_that_fails_leaves_the_view_as_it_was(tmp_path, monkeypatch):
    live = recorded(tmp_path, DEMO)

    def fail(*_: object) -> None:
        raise ViewError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(ledger_module.DuckDbWriter, "commit", fail)
        with pytest.raises(ViewError, match="the disk is full"):
            rebuild(tmp_path)
    assert running_server(tmp_path) is None
    ledger = Ledger.open(tmp_path)
    assert settled_digests(ledger._engine) == live
    ledger.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [JOURNAL, "lock", VIEW]


def test_a_rebuild_from_a_damaged_record_says_so_and_leaves_the_view_as_it_was(tmp_path):
    live = recorded(tmp_path, DEMO)
    path = next((tmp_path / JOURNAL).glob("*.segment"))
    data = bytearray(path.read_bytes())
    data[64 + 74 + 40] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(JournalCorrupt, match="wrong checksum"):
        rebuild(tmp_path)
    ledger = Ledger.open(tmp_path)
    assert settled_digests(ledger._engine) == live
    assert ledger.waiter.readiness()["ready"]
    ledger.close()


def test_what_an_interrupted_rebuild_left_is_removed(tmp_path):
    live = recorded(tmp_path, DEMO)
    for suffix in (".new", ".new.wal"):
        (tmp_path / (VIEW + suffix)).write_bytes(b"half")
    ledger = Ledger.open(tmp_path)
    ledger.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [JOURNAL, "lock", VIEW]
    (tmp_path / (VIEW + ".new")).write_bytes(b"half")
    assert rebuild(tmp_path).digests == live


def test_a_rebuild_stays_away_from_a_folder_in_use(tmp_path):
    lock = FolderLock(tmp_path)
    with pytest.raises(DataFolderLocked, match="is open in process"):
        rebuild(tmp_path)
    assert not (tmp_path / VIEW).exists()
    lock.release()


def test_another_table_of_prices_holds_for_what_comes_in_and_a_rebuild_prices_the_rest(tmp_path):
    def call(trace: int) -> FrameDraft:
        tokens = {"gen_ai.usage.input_tokens": "1000", "gen_ai.usage.output_tokens": "0"}
        said = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "mine", "gen_ai.provider.name": "us", **tokens}
        return draft_of(spans_body({"trace": trace, "span": 1, "start": trace, "end": 9, "name": "chat", **said}))

    def costs(prices: Prices | None, *drafts: FrameDraft) -> list[tuple[float | None, int]]:
        ledger = Ledger.open(data, prices=prices)
        try:
            for draft in drafts:
                assert ledger.waiter.wait_for(ledger.journal.append(draft), BUSY_SECONDS)
            runs = ledger.reader.runs("default", RunFilter(), limit=10, cursor=None).rows
            return [(run.cost_usd, run.unpriced_calls) for run in runs]
        finally:
            ledger.close()

    data, table = tmp_path / "data", tmp_path / "prices.toml"
    table.write_text(
        '[[price]]\nproviders = ["us"]\nmodels = ["mine"]\ninput = 2\noutput = 8\nsource = "x"\ndate = 2026-01-01\n'
    )
    prices = read_prices(table)
    assert costs(None, call(1)) == [(None, 1)]
    assert costs(prices, call(2)) == [(0.002, 0), (None, 1)]
    rebuild(data, prices=prices)
    assert costs(prices) == [(0.002, 0), (0.002, 0)]
