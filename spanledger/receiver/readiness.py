"""Whether the server is ready: the view keeps up, and somebody takes requests."""

from dataclasses import dataclass
from typing import Any, Protocol

from store.contract import Waiter
from store.record import Position


class Receivers(Protocol):
    """Who takes requests."""

    @property
    def problem(self) -> str | None:
        """Why none is taken, if none is."""
        ...


@dataclass(frozen=True, slots=True)
class WholeReadiness:
    """`store.contract.Waiter` of the whole server."""

    view: Waiter
    receivers: Receivers

    def wait_for(self, position: Position, timeout_seconds: float) -> bool:
        """See `store.contract.Waiter`."""
        return self.view.wait_for(position, timeout_seconds)

    def moved(self, sequence: int, timeout_seconds: float) -> Position:
        """See `store.contract.Waiter`."""
        return self.view.moved(sequence, timeout_seconds)

    def readiness(self) -> dict[str, Any]:
        """See `store.contract.Waiter`; not ready, too, while no request is taken."""
        readiness = self.view.readiness()
        problem = self.receivers.problem
        if problem is None:
            return readiness
        return readiness | {"ready": False, "reasons": [*readiness["reasons"], problem]}
