"""A trail for tests: it keeps what is recorded in memory, and cannot when a test says so."""

from collections.abc import Sequence
from concurrent.futures import Future

from access.refusals import Refusals
from query.trail import Trail
from store.access_records import AccessRecord
from store.record import Position
from tests.builders import JOURNAL_ID


class KeptRecords:
    """What was recorded, by tenant in order. `failure` is raised instead; `held` leaves what comes waiting."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, AccessRecord]] = []
        self.frames = 0
        self.failure: Exception | None = None
        self.held = False
        self.waiting: list[Future[Position]] = []

    def __call__(self, tenant: str, records: Sequence[AccessRecord]) -> "Future[Position]":
        if self.failure is not None:
            raise self.failure
        self.frames += 1
        self.kept += [(tenant, record) for record in records]
        done: Future[Position] = Future()
        if self.held:
            self.waiting.append(done)
        else:
            done.set_result(Position(JOURNAL_ID, self.frames))
        return done

    @property
    def records(self) -> list[AccessRecord]:
        return [record for _, record in self.kept]

    def take(self) -> list[AccessRecord]:
        """What was recorded since the last call."""
        found = self.records
        self.kept.clear()
        return found


def trail_of(log: KeptRecords, **arguments: object) -> Trail:
    """A trail that records there; purposes are kept as they come, in brackets."""
    return Trail(log, Refusals(), **({"redact": lambda tenant, text: f"<{tenant}:{text}>"} | arguments))  # type: ignore[arg-type]


def kept_trail() -> Trail:
    """A trail of which nobody looks at the records."""
    return trail_of(KeptRecords())
