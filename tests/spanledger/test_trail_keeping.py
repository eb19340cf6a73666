"""Changes of keys, policies and counted refusals come into the record: once, sooner or later, whatever fails meanwhile."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from access.control import Control, control_url
from access.keys import new_key
from access.permissions import Role
from access.refusals import Refusal, Refusals
from query.trail import Trail
from spanledger import trail_keeping
from spanledger.redaction import OFF, PolicySaid, boundary_of
from spanledger.settings import Settings
from spanledger.trail_keeping import TrailKeeper, record_changes, record_waiting_changes
from store.contract import AccessFilter
from store.errors import JournalFull
from store.ledger import Ledger
from store.model.rows import AccessRow
from store.record import DEFAULT_TENANT
from tests.gates import key_record
from tests.patience import BUSY_SECONDS

KEY = key_record(new_key(), Role.AUDITOR, "acme")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    opened = Control.open(control_url(tmp_path, None))
    yield opened
    opened.close()


@pytest.fixture
def keeper(ledger: Ledger, control: Control, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrailKeeper]:
    monkeypatch.setattr(trail_keeping, "KEEP_SECONDS", 0.01)
    trail = Trail(ledger.record, Refusals(), redact=lambda _, text: text)
    made = TrailKeeper(trail, ledger, lambda: control)
    made.trail = trail  # type: ignore[attr-defined]
    yield made
    made.stop()


def accesses(ledger: Ledger, tenant: str = DEFAULT_TENANT) -> list[AccessRow]:
    """What is in the view once all that was appended is."""
    assert ledger.waiter.wait_for(ledger.journal.durable_position, BUSY_SECONDS)
    return ledger.reader.accesses(tenant, AccessFilter(), limit=100, cursor=None).rows


def until(ledger: Ledger, count: int, tenant: str = DEFAULT_TENANT) -> list[AccessRow]:
    deadline = time.monotonic() + BUSY_SECONDS
    while len(found := accesses(ledger, tenant)) < count:
        assert time.monotonic() < deadline, found
        ledger.journal.wait_for_more(ledger.journal.durable_sequence, 0.01)
    return found


def said(version: str, **changed) -> PolicySaid:
    return replace(
        PolicySaid(version=version, before="", outcome="allowed", reason="", at_ns=time.time_ns()), **changed
    )


def test_a_change_is_recorded_for_the_key_s_tenant_and_then_waits_no_more(ledger, control):
    control.add(KEY, by="local:ann")
    control.revoke(KEY.prefix, time.time(), by="local:ann")
    assert record_changes(control, ledger) == 2
    assert control.changes() == []
    revoked, created = accesses(ledger, "acme")
    assert (created.action, created.who, created.door, created.subject) == (
        "key_create",
        "local:ann",
        "cli",
        f"key:{KEY.prefix}",
    )
    assert created.detail["role"] == "auditor"
    assert revoked.action == "key_revoke"
    assert accesses(ledger) == []


def test_a_change_that_was_recorded_but_not_taken_out_counts_once(ledger, control, monkeypatch):
    control.add(KEY)

    def crash(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(control, "recorded", crash)
        with pytest.raises(KeyboardInterrupt):
            record_changes(control, ledger)
    record_changes(control, ledger)
    assert [row.action for row in accesses(ledger, "acme")] == ["key_create"]
    assert ledger.journal.durable_sequence == 2


def test_who_opens_a_folder_next_records_what_waits(ledger, control, tmp_path):
    record_waiting_changes(Settings(data=tmp_path / "without"), ledger)
    assert not (tmp_path / "without").exists()
    control.add(KEY)
    record_waiting_changes(Settings(data=tmp_path), ledger)
    assert len(accesses(ledger, "acme")) == 1


def test_what_cannot_be_recorded_now_is_left_for_the_next(ledger, control, tmp_path, monkeypatch):
    control.add(KEY)

    def full(*_):
        raise JournalFull("full")

    with monkeypatch.context() as broken:
        broken.setattr(ledger.journal, "submit", full)
        record_waiting_changes(Settings(data=tmp_path), ledger)
    assert len(control.changes()) == 1
    record_waiting_changes(Settings(data=tmp_path), ledger)
    assert control.changes() == []


def test_the_keeper_records_changes_and_refusals_as_they_come(ledger, control, keeper):
    keeper.start()
    control.add(KEY, by="settings")
    [row] = until(ledger, 1, "acme")
    assert (row.door, row.who) == ("server", "settings")
    for _ in range(3):
        keeper.trail.refusals.note(Refusal(who="unknown", door="otlp-grpc", reason="missing", peer="192.0.2.1"))
    keeper.stop()
    found = accesses(ledger)
    assert sum(row.count for row in found) == 3
    assert {(row.door, row.action, row.outcome) for row in found} == {("otlp-grpc", "enter", "refused")}


def test_the_keeper_goes_on_when_the_journal_has_room_again(ledger, control, keeper, monkeypatch):
    submit, tried = ledger.journal.submit, []

    def full(draft):
        tried.append(draft)
        raise JournalFull("full")

    monkeypatch.setattr(ledger.journal, "submit", full)
    control.add(KEY)
    keeper.hear_policy(said("v1"))
    keeper.trail.refusals.note(Refusal(who="unknown", door="api", reason="missing"))
    keeper.start()
    deadline = time.monotonic() + BUSY_SECONDS
    while len(tried) < 6 and time.monotonic() < deadline:
        keeper._stop.wait(0.01)
    monkeypatch.setattr(ledger.journal, "submit", submit)
    assert {row.action for row in until(ledger, 2)} == {"policy", "enter"}
    assert len(until(ledger, 1, "acme")) == 1


def test_a_policy_is_recorded_when_it_is_another_one_than_before_also_over_restarts(ledger, keeper):
    built_in: list[PolicySaid] = []
    boundary_of(Settings(data=Path("unused")), built_in.append)
    for one in (
        built_in[0],
        said("v1"),
        said("v1"),
        said("v1", outcome="refused", reason="line 3: no such rule"),
        said("v2", before="v1"),
        said(OFF),
    ):
        keeper.hear_policy(one)
    keeper.stop()
    keeper.start()
    found = until(ledger, 4)
    assert [(row.subject, row.outcome, row.reason, row.detail) for row in reversed(found)] == [
        ("policy:v1", "allowed", None, {}),
        ("policy:v1", "refused", "line 3: no such rule", {}),
        ("policy:v2", "allowed", None, {"before": "v1"}),
        ("policy:off", "allowed", None, {}),
    ]


def test_a_policy_file_that_changes_is_told_with_what_became_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr("collector.redaction.source.LOOK_SECONDS", 0.0)
    path = tmp_path / "policy.yaml"
    path.write_text("rules: {email: off}\n")
    heard: list[PolicySaid] = []
    boundary = boundary_of(Settings(data=tmp_path / "data", redaction_policy=path), heard.append)
    path.write_text("rules: {email: off, iban: off}\n")
    boundary.prepare()
    path.write_text("rules: {nonsense\n")
    boundary.prepare()
    first, second, third = heard
    assert (first.outcome, second.outcome, third.outcome) == ("allowed", "allowed", "refused")
    assert first.version == second.before != second.version == third.version
    assert "policy.yaml" in third.reason
