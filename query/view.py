"""The one way from a route to the view: for which tenant, and not before it has reached a position.

A route never holds a Reader by itself. It asks `View.at(min_position)` for one, so that no read can forget to wait; and
the tenant comes from `tenant`, the only place that decides it.
"""

from dataclasses import dataclass, field
from threading import BoundedSemaphore, Event
from time import monotonic
from typing import Annotated, Final

from fastapi import Depends, Request

from query.problems import CannotWait, NotYetVisible
from store.contract import Reader, Waiter
from store.record import DEFAULT_TENANT, Position

# Each waiting read holds a worker thread (of 40); the rest must stay free for reads that need not wait.
WAITING_READS_MAX: Final = 16
# How soon a waiting read notices that the service stops.
_SLICE_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """Bounds that the front door may set."""

    wait_seconds_max: float = 10.0
    """How long a read with `min_position` waits for the view."""


@dataclass(frozen=True, slots=True)
class View:
    """A Reader behind its Waiter."""

    _reader: Reader
    waiter: Waiter
    _limits: ReadLimits
    _waiting: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(WAITING_READS_MAX))
    _closing: Event = field(default_factory=Event)

    def close(self) -> None:
        """Let reads that wait give up at once: the service is stopping. Reads that need not wait are still answered."""
        self._closing.set()

    def at(self, min_position: str | None) -> Reader:
        """The reader, once the view holds `min_position`. Raises BadQuery, NotYetVisible, CannotWait."""
        if min_position is None:
            return self._reader
        position = Position.parse(min_position)
        if self.waiter.wait_for(position, 0.0):
            return self._reader
        if not self._waiting.acquire(blocking=False):
            raise CannotWait(f"{WAITING_READS_MAX} reads wait for the view already; try again in a second")
        try:
            self._wait(position)
        finally:
            self._waiting.release()
        return self._reader

    def _wait(self, position: Position) -> None:
        limit = self._limits.wait_seconds_max
        deadline = monotonic() + limit
        while not self._closing.is_set():
            remaining = deadline - monotonic()
            if remaining <= 0:
                raise NotYetVisible(
                    f"the view did not reach {position} within {limit:g} s; "
                    "ask again, or look at /readyz for how far it is"
                )
            if self.waiter.wait_for(position, min(remaining, _SLICE_SECONDS)):
                return
        raise CannotWait(f"the service is stopping, and its view has not reached {position}; ask again later")


async def _view(request: Request) -> View:
    return request.app.state.view


async def tenant() -> str:
    """Whose record is read. There is one tenant until access control decides otherwise."""
    return DEFAULT_TENANT


ViewOf = Annotated[View, Depends(_view)]
Tenant = Annotated[str, Depends(tenant)]
