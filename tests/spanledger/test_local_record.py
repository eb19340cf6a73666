"""Commands that open a data folder themselves leave a trace before they show anything, under the name of their user."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from query.live import START
from query.trail import PURPOSE_BYTES_MAX
from spanledger.errors import FrontDoorError, UsageError
from spanledger.local_record import LocalRecord
from spanledger.local_user import local_user
from spanledger.purposes import WITHHELD, Purposes
from spanledger.reading import client_access, http_client, open_record
from spanledger.settings import Settings
from store.contract import AccessFilter, RunFilter, StepFilter
from store.errors import JournalFull, NotFound
from store.ledger import Ledger
from store.record import DEFAULT_TENANT
from tests.patience import BUSY_SECONDS
from tests.store.ledger_bench import captures, draft_of

EVERY = RunFilter()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path)
    for body in captures()["spanledger-demo"]:
        position = opened.append(draft_of(body))
    assert opened.waiter.wait_for(position, BUSY_SECONDS)
    yield opened
    opened.close()


def accesses(ledger: Ledger):
    assert ledger.waiter.wait_for(ledger.journal.durable_position, BUSY_SECONDS)
    return ledger.reader.accesses(DEFAULT_TENANT, AccessFilter(), limit=100, cursor=None).rows


def run_of(ledger: Ledger) -> str:
    return ledger.reader.runs(DEFAULT_TENANT, EVERY, limit=1, cursor=None).rows[0].run_id


def test_a_replay_is_recorded_before_its_first_event(ledger):
    run_id = run_of(ledger)
    events = LocalRecord(ledger, purpose="incident 7").replay(run_id)
    [row] = accesses(ledger)
    assert (row.who, row.door, row.action, row.run_id, row.call) == (local_user(), "cli", "replay", run_id, "replay")
    assert (row.peer, row.key_prefix, row.purpose) == (None, None, "incident 7")
    assert row.who.startswith("local:")
    assert next(events).type == "run_started"


def test_an_unknown_run_is_not_a_read(ledger):
    with pytest.raises(NotFound):
        LocalRecord(ledger).replay("nowhere")
    assert accesses(ledger) == []


def test_the_list_of_accesses_is_recorded_and_shows_itself_the_next_time(ledger):
    record = LocalRecord(ledger)
    assert record.accesses(AccessFilter(), limit=10, cursor=None).rows == []
    [row] = accesses(ledger)
    assert (row.action, row.call) == ("access", "access")


def test_a_search_is_recorded_by_the_names_of_its_conditions(ledger):
    LocalRecord(ledger).runs(RunFilter(q="jane@example.com"), limit=10, cursor=None)
    [row] = accesses(ledger)
    assert (row.action, row.filters) == ("read", ["q"])
    assert "jane" not in repr(row)


def test_what_cannot_be_recorded_is_not_shown_but_metadata_is(ledger, monkeypatch):
    def full(*_):
        raise JournalFull("the disk is full")

    whole = [step.status_message for step in LocalRecord(ledger).live(StepFilter(), START, follow=False)]
    assert any(whole), "there is content to withhold"
    monkeypatch.setattr(ledger.journal, "submit", full)
    record = LocalRecord(ledger)
    with pytest.raises(FrontDoorError, match="the disk is full"):
        record.replay(run_of(ledger))
    with pytest.raises(FrontDoorError):
        record.accesses(AccessFilter(), limit=1, cursor=None)
    with pytest.raises(FrontDoorError):
        record.runs(RunFilter(q="x"), limit=1, cursor=None)
    with capture_logs() as logs:
        steps = list(record.live(StepFilter(), START, follow=False))
    assert len(steps) == len(whole)
    assert not any(step.status_message for step in steps)
    assert [line["event"] for line in logs] == ["content_withheld"]


def test_the_purpose_of_the_environment_is_redacted_and_recorded(ledger, tmp_path):
    run_id = run_of(ledger)
    ledger.close()
    access = client_access(None, {"SPANLEDGER_PURPOSE": "for jane.doe@example.com"})
    settings = Settings(data=tmp_path)
    with open_record(None, settings, access) as record:
        assert list(record.replay(run_id))
        assert isinstance(record, LocalRecord)
    with open_record(None, settings) as record:
        [row] = record.accesses(AccessFilter(), limit=10, cursor=None).rows
    assert row.purpose == "for [redacted:email]"


def test_the_purpose_goes_to_a_server_as_a_header():
    access = client_access(None, {"SPANLEDGER_PURPOSE": "Vorfall für Jürgen"})
    with http_client("http://127.0.0.1:1", 1.0, access) as client:
        assert (b"spanledger-purpose", "Vorfall für Jürgen".encode()) in [
            (name.lower(), value) for name, value in client.headers.raw
        ]


@pytest.mark.parametrize("purpose", ["x" * (PURPOSE_BYTES_MAX + 1), "two\nlines"])
def test_a_purpose_that_cannot_be_sent_is_refused_with_its_name(purpose):
    with pytest.raises(UsageError, match="SPANLEDGER_PURPOSE"):
        client_access(None, {"SPANLEDGER_PURPOSE": purpose})


def test_a_purpose_is_redacted_as_telemetry_is(tmp_path):
    purposes = Purposes(Settings(data=tmp_path))
    assert purposes.redact("acme", "incident 7") == "incident 7"
    found = purposes.redact("acme", "key AKIAIOSFODNN7EXAMPLE of jane.doe@example.com")
    assert "AKIA" not in found
    assert "jane" not in found
    off = Purposes(Settings(data=tmp_path, redaction="off"))
    assert off.redact("acme", "jane.doe@example.com") == "jane.doe@example.com"


def test_a_purpose_that_cannot_be_redacted_is_not_stored(tmp_path):
    broken = Purposes(Settings(data=tmp_path, redaction_policy=tmp_path / "nowhere.yaml"))
    assert broken.redact("acme", "jane.doe@example.com") == WITHHELD
