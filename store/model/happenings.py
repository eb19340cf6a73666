"""What happened in a run, put in one order though it comes from several streams, none of them held whole.

A stream gives what it has some at a time, in an order of its own, and says with each batch how early what is still to come
may be at most (its floor). Whatever is earlier than every stream's floor can be told. So what waits is what is known and lies
ahead: the end of a call that is open, what overlaps with a segment that is read later.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, Final, TypeAlias

# Of equal time: what causes stands before what follows.
_ORDER: Final = {
    name: index
    for index, names in enumerate(
        (("run_started",), ("sub_run",), ("message", "reasoning"), ("tool_requested",), ("approval_asked",), ("decided", ""),
         ("retry",), ("tool_executed",), ("tool_result",), ("error",), ("evaluation",), ("run_ended",))
    )
    for name in names
}  # fmt: skip
AT_THE_END: Final = 2**63
"""A floor behind every time there is: nothing more will come."""
_UNKNOWN: Final = -1


@dataclass(slots=True)
class Happening:
    """One event to be. Without a type it changes the state and is not told."""

    at_ns: int
    type: str
    step_id: str | None
    data: dict[str, Any]
    order: int = 0
    opens: str | None = None
    closes: str | None = None
    asks: str | None = None
    settles: str | None = None


Batch: TypeAlias = tuple[list[Happening], int]
"""Some happenings in any order, and the floor of those that come after them."""


def whole(happenings: Iterable[Happening]) -> Iterator[Batch]:
    """A stream that is small enough to be held."""
    yield list(happenings), AT_THE_END


def merged(streams: list[Iterator[Batch]]) -> Iterator[Happening]:
    """What happened in order of time; of the same time causes first, then as the streams stand; the run's end last."""
    floors = [_UNKNOWN] * len(streams)
    waiting: list[tuple[tuple[bool, int, int, int, int, int], Happening]] = []
    taken = 0
    while (low := min(floors)) < AT_THE_END:
        number = floors.index(low)
        batch, floors[number] = next(streams[number], ((), AT_THE_END))
        for one in batch:
            taken += 1
            key = (one.type == "run_ended", one.at_ns, _ORDER[one.type], one.order, number, taken)
            heappush(waiting, (key, one))
        low = min(floors)
        while waiting and waiting[0][1].at_ns < low and waiting[0][1].type != "run_ended":
            yield heappop(waiting)[1]
    while waiting:
        yield heappop(waiting)[1]
