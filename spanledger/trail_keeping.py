"""What is to be in the record and comes from elsewhere than a request: put there once a second, again until it is.

    refusals that were counted here and in the receivers -\
    changes of keys that the command line made ------------ > TrailKeeper -> journal
    policies that the receivers took or refused ----------/

Strategy: each of them is kept where it is (a count, a table, a queue) until the journal has said that it is durable. A change
of a key has an id, so that one which is recorded twice counts once.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import Final, Protocol

import structlog

from access.control import Control, KeyChange, control_url, sqlite_file
from access.errors import ControlError
from collector.redaction.policy import built_in_policy
from query.trail import RECORD_SECONDS_MAX, Trail
from spanledger.redaction import PolicySaid
from spanledger.settings import Settings
from store.access_records import AccessRecord
from store.contract import AccessFilter, Reader, Waiter
from store.errors import StoreError
from store.record import DEFAULT_TENANT, Position

KEEP_SECONDS: Final = 1.0
POLICIES_MAX: Final = 100  # That wait to be recorded; the file is looked at once a second.
_STOP_SECONDS_MAX: Final = 2.0
_NANOSECONDS: Final = 1_000_000_000

_log: Final = structlog.stdlib.get_logger(__name__)


class Ledger(Protocol):
    """What of the store is needed here."""

    @property
    def reader(self) -> Reader: ...

    @property
    def waiter(self) -> Waiter: ...

    def record(self, tenant: str, records: Sequence[AccessRecord]) -> "Future[Position]":
        """Make records of one tenant durable."""
        ...


def record_of_change(change: KeyChange, door: str) -> AccessRecord:
    """The record of a change of a key."""
    return AccessRecord(
        at_ns=int(change.at * _NANOSECONDS),
        who=change.changed_by,
        action=change.action,
        outcome="allowed",
        door=door,
        access_id=change.change_id,
        subject=f"key:{change.prefix}",
        detail=change.detail,
    )


def record_of_policy(said: PolicySaid) -> AccessRecord:
    """The record of a policy that was taken or refused."""
    return AccessRecord(
        at_ns=said.at_ns,
        who="server",
        action="policy",
        outcome=said.outcome,
        door="server",
        subject=f"policy:{said.version}",
        reason=said.reason or None,
        detail={"before": said.before} if said.before else {},
    )


def record_changes(control: Control, ledger: Ledger) -> int:
    """Put into the record what waits in a control store, and say how much. Raises ControlError, StoreError, TimeoutError."""
    count = 0
    while changes := control.changes():
        waiting: list[Future[Position]] = []
        for tenant in dict.fromkeys(one.tenant for one in changes):
            records = [record_of_change(one, _door_of(one)) for one in changes if one.tenant == tenant]
            waiting.append(ledger.record(tenant, records))
        for done in waiting:
            done.result(RECORD_SECONDS_MAX)
        control.recorded(changes)
        count += len(changes)
    return count


def record_waiting_changes(settings: Settings, ledger: Ledger) -> None:
    """The same for whoever opens a data folder without being its server. What fails is left for the next one."""
    url = control_url(settings.data, settings.control_url)
    try:
        file = sqlite_file(url)
        if file is not None and not file.exists():
            return
        control = Control.open(url)
        try:
            record_changes(control, ledger)
        finally:
            control.close()
    except (ControlError, StoreError, TimeoutError) as error:
        _log.warning(
            "key_changes_unrecorded", cause=str(error), effect="the next one who opens the folder records them"
        )


class TrailKeeper:
    """Keeps one record complete. `start`, then `stop`. Thread-safe."""

    def __init__(self, trail: Trail, ledger: Ledger, control: Callable[[], Control | None]) -> None:
        """`control` gives the control store, None as long as there is none."""
        self._trail = trail
        self._ledger = ledger
        self._control = control
        self._revision: int | None = None
        self._policies: deque[PolicySaid] = deque(maxlen=POLICIES_MAX)
        self._failing = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trail", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Record what there is, as far as that works, and end. Safe to call twice."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS_MAX)

    def hear_policy(self, said: PolicySaid) -> None:
        """A policy of redaction was taken, or refused, by the receivers."""
        self._policies.append(said)

    def _policy_before(self) -> str:
        """The version that was recorded last. A record that says nothing began with the built-in one."""
        where = AccessFilter(action="policy", outcome="allowed")
        try:
            rows = self._ledger.reader.accesses(DEFAULT_TENANT, where, limit=1, cursor=None).rows
        except StoreError:
            return ""  # Recorded once more than needed.
        return (rows[0].subject or "").partition(":")[2] if rows else built_in_policy().version

    def _run(self) -> None:
        over = False
        while not over:
            over = self._stop.wait(KEEP_SECONDS)
            try:
                wait(self._trail.write_refusals(), RECORD_SECONDS_MAX)
                self._keep_policies()
                self._keep_changes()
            except (ControlError, StoreError, TimeoutError) as error:
                if not self._failing:
                    _log.error("changes_unrecorded", cause=str(error), effect="they are recorded when that works again")
                self._failing = True
            except Exception as error:  # noqa: BLE001 - a keeper that died unheard would leave holes in the record
                _log.error("trail_failed", exc_info=error)
                self._failing = True
            else:
                self._failing = False

    def _keep_policies(self) -> None:
        while self._policies:
            said = self._policies[0]
            # One that was in force before this server was started is no change.
            if said.before or said.outcome == "refused" or said.version != self._policy_before():
                record = record_of_policy(said)
                position = self._ledger.record(DEFAULT_TENANT, [record]).result(RECORD_SECONDS_MAX)
                self._ledger.waiter.wait_for(position, RECORD_SECONDS_MAX)  # So that the next one is compared with it.
            self._policies.popleft()

    def _keep_changes(self) -> None:
        control = self._control()
        if control is None:
            return
        revision = control.revision()
        if revision != self._revision:
            record_changes(control, self._ledger)
            self._revision = revision


def _door_of(change: KeyChange) -> str:
    return "cli" if change.changed_by.startswith("local:") else "server"
