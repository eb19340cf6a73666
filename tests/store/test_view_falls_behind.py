"""The bound in seconds, in the situations that it must tell apart: a machine and its senders, played on a clock of ours.

The machine projects batches as the real projector takes them: each costs a transaction, then so much a span and so much a
byte. Senders ask before each request whether the view is too late, as the receivers do.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.backlog import STILL_SECONDS, Backlog, Load
from store.pace import Pace, work_of
from store.projector import BATCH_BYTES_MAX, BATCH_FRAMES_MAX

SECONDS_MAX = 5.0
TICK = 0.01
TRANSACTION_SECONDS = 0.03


@dataclass(frozen=True)
class Kind:
    """A kind of request."""

    size: int
    records: int

    @property
    def seconds(self) -> float:
        """What one takes to project, as it was measured."""
        return self.records * 80e-6 + self.size * 11.7e-9


HISTORY = Kind(256 * 14_500, 256)
SMALL = Kind(512 * 1_300, 512)
TINY = Kind(350, 1)
EXPORT = Kind(128 * 600, 128)


@dataclass
class Machine:
    """A journal, a projector and its backlog. `slow` is by how much a batch takes longer at a time."""

    reached: int = 0
    durable: int = 0
    inherited: Load = field(default_factory=Load)
    slow: Callable[[float], float] = lambda _now: 1.0
    now: float = 1000.0
    refused: list[float] = field(default_factory=list[float])
    taken: int = 0

    def __post_init__(self) -> None:
        self.backlog = Backlog(
            reached=self.reached, durable=self.durable, inherited=self.inherited, clock=lambda: self.now
        )
        self._begun = self.now
        self._last = self._projected = self.durable
        self._waiting: deque[Kind] = deque()
        self._batch = 0
        self._left = self._begun_seconds = 0.0

    @property
    def age(self) -> float:
        return self.now - self._begun

    @property
    def seconds_behind(self) -> float:
        """What the view really needs, on a machine that is not slowed."""
        return sum(kind.seconds for kind in self._waiting) - self._begun_seconds + max(self._left, 0)

    def send(self, kind: Kind) -> bool:
        if self.backlog.excess_seconds(SECONDS_MAX) > 0:
            self.refused.append(self.age)
            return False
        self._last += 1
        self.taken += 1
        self.backlog.appended(self._last, kind.size, kind.records)
        self._waiting.append(kind)
        return True

    def run(self, seconds: float, *, load: float = 0.0, kinds: Iterator[Kind] | None = None) -> "Machine":
        """Let time pass, with senders of `load` times what the machine can project."""
        owed, until = 0.0, self.now + seconds
        kind = next(kinds) if kinds else None
        while self.now < until - TICK / 2:
            self.now += TICK
            owed += TICK * load
            while kinds and kind and owed >= kind.seconds:
                owed -= kind.seconds
                self.send(kind)
                kind = next(kinds)
            self._project()
        return self

    def until_caught_up(self, seconds_max: float = 600) -> float:
        begun = self.now
        while self._waiting or self._batch:
            assert self.now - begun < seconds_max
            self.run(0.1)
        return self.now - begun

    def _project(self) -> None:
        left = TICK
        while left > 0:
            if not self._batch and not self._begin():
                return
            slow = self.slow(self.age)
            if self._left * slow > left:
                self._left -= left / slow
                return
            left -= max(self._left, 0) * slow
            for _ in range(self._batch):
                self._waiting.popleft()
            self._projected += self._batch
            self._batch, self._left, self._begun_seconds = 0, 0.0, 0.0
            self.backlog.projected(self._projected)

    def _begin(self) -> bool:
        size, seconds = 0, TRANSACTION_SECONDS
        for kind in self._waiting:
            if self._batch and (size + kind.size > BATCH_BYTES_MAX or self._batch >= BATCH_FRAMES_MAX):
                break
            self._batch += 1
            size += kind.size
            seconds += kind.seconds
        self._left, self._begun_seconds = seconds, seconds - TRANSACTION_SECONDS
        return bool(self._batch)


def only(kind: Kind) -> Iterator[Kind]:
    while True:
        yield kind


def down(begins: float, ends: float) -> Callable[[float], float]:
    return lambda age: 1e9 if begins <= age < ends else 1.0


def warm(kind: Kind = SMALL, **given: Callable[[float], float]) -> Machine:
    """A machine that has been busy for a while, so that its pace is known."""
    machine = Machine(**given).run(4, load=1.5, kinds=only(kind))
    machine.until_caught_up()
    machine.refused.clear()
    assert machine.backlog.catch_up_seconds == 0
    return machine


@pytest.mark.parametrize("kind", [HISTORY, SMALL, EXPORT, TINY], ids=["history", "small", "export", "tiny"])
def test_after_half_a_minute_of_twice_too_much_the_view_is_as_new_within_ten_seconds(kind: Kind) -> None:
    machine = Machine().run(30, load=2, kinds=only(kind))
    assert machine.refused
    assert machine.seconds_behind < SECONDS_MAX * 1.2
    assert machine.until_caught_up() < 7.5
    assert machine.send(kind)


@pytest.mark.parametrize("kind", [HISTORY, SMALL, EXPORT, TINY], ids=["history", "small", "export", "tiny"])
def test_while_too_much_is_sent_the_view_is_kept_busy(kind: Kind) -> None:
    machine = Machine().run(20, load=2, kinds=only(kind))
    full = 20 / (kind.seconds + TRANSACTION_SECONDS / BATCH_FRAMES_MAX)
    assert machine.taken > 0.8 * full


@pytest.mark.parametrize("before", [0.0, 0.02, 0.3])
def test_a_burst_that_is_projected_in_time_is_taken_whatever_went_before(before: float) -> None:
    # The cost of a transaction hides the pace of small batches: an hour of them must not make the view look slow.
    machine = Machine().run(30, load=before, kinds=only(TINY))
    for _ in range(round(0.9 * SECONDS_MAX / HISTORY.seconds)):
        assert machine.send(HISTORY)
    machine.run(5, load=0.5, kinds=only(SMALL))
    assert machine.refused == []


def test_a_pace_that_was_learned_from_one_kind_holds_for_another() -> None:
    # Of tiny requests no batch is large, so the view is somewhat slower with them.
    for learned, burst, share in ((HISTORY, EXPORT, 0.8), (EXPORT, HISTORY, 0.8), (TINY, HISTORY, 0.5)):
        machine = warm(learned)
        for _ in range(round(share * SECONDS_MAX / burst.seconds)):
            assert machine.send(burst)
        machine = warm(learned).run(30, load=2, kinds=only(burst))
        assert machine.until_caught_up() < 7.5


@settings(max_examples=12, deadline=None)
@given(
    load=st.floats(0.05, 0.85),
    mixture=st.lists(st.sampled_from([HISTORY, SMALL, EXPORT, TINY]), min_size=1, max_size=6),
)
def test_no_mixture_that_the_view_keeps_up_with_is_ever_refused(load: float, mixture: list[Kind]) -> None:
    def mixed() -> Iterator[Kind]:
        while True:
            yield from mixture

    # Tiny requests fill batches by their number, so transactions take their share of the time.
    share = 0.8 if TINY in mixture else 1.0
    assert Machine().run(15, load=load * share, kinds=mixed()).refused == []


@pytest.mark.parametrize("load", [0.3, 0.9])
def test_an_engine_that_is_down_refuses_nobody_and_neither_does_what_it_left_behind(load: float) -> None:
    machine = warm()
    begun = machine.age
    machine.slow = down(begun + 5, begun + 65)
    machine.run(70, load=load, kinds=only(SMALL))
    assert machine.seconds_behind > 10
    machine.run(120, load=0.8, kinds=only(SMALL))
    assert machine.refused == []


def test_an_engine_that_is_down_from_the_first_moment_refuses_nobody() -> None:
    machine = Machine(slow=down(0, 90)).run(90, load=1, kinds=only(SMALL)).run(60, load=0.8, kinds=only(SMALL))
    assert machine.refused == []


def test_a_view_that_stood_still_while_too_much_was_sent_comes_back_under_the_bound() -> None:
    machine = warm()
    begun = machine.age
    machine.slow = down(begun + 10, begun + 25)
    machine.run(30, load=2, kinds=only(EXPORT))
    late = machine.seconds_behind
    assert late > SECONDS_MAX * 2
    machine.run(20, load=2, kinds=only(EXPORT))
    assert machine.seconds_behind < late - 1
    machine.run(170, load=2, kinds=only(EXPORT))
    assert machine.seconds_behind < SECONDS_MAX * 1.5 + 1


def test_a_view_that_is_slowed_for_a_moment_is_not_held_for_slow() -> None:
    machine = warm()
    begun = machine.age
    machine.slow = lambda age: 4.0 if begun + 5 <= age < begun + 12 else 1.0  # a heavy question
    machine.run(40, load=0.5, kinds=only(SMALL))
    assert machine.refused == []


def test_a_view_that_has_become_faster_is_known_for_it_in_seconds() -> None:
    machine = Machine(slow=lambda age: 5.0 if age < 120 else 1.0).run(120, load=1, kinds=only(SMALL))
    assert machine.refused
    machine.run(10, load=0.8, kinds=only(SMALL))
    machine.refused.clear()
    machine.run(30, load=0.8, kinds=only(SMALL))
    assert machine.refused == []


def test_what_a_restart_found_is_no_reason_to_refuse() -> None:
    frames = round(20 / SMALL.seconds)  # 20 s of it
    inherited = Load(frames * SMALL.size, frames * work_of(SMALL.size, SMALL.records))
    machine = Machine(durable=frames, inherited=inherited)
    machine._waiting.extend([SMALL] * frames)
    machine._projected = 0
    machine.run(120, load=0.8, kinds=only(SMALL))
    assert machine.refused == []
    assert machine.backlog.catch_up_seconds < SECONDS_MAX


def test_the_seconds_that_are_told_are_those_it_takes() -> None:
    machine = warm(EXPORT)
    for _ in range(round(4 / EXPORT.seconds)):
        assert machine.send(EXPORT)
    told = machine.backlog.catch_up_seconds
    assert machine.until_caught_up() == pytest.approx(told, rel=0.25)


def test_a_batch_under_way_counts_as_far_as_it_has_come() -> None:
    machine = warm(EXPORT).run(0.1, load=1, kinds=only(EXPORT))
    for _ in range(round(4 / EXPORT.seconds)):
        assert machine.send(EXPORT)
    before = [machine.run(0.05).backlog.catch_up_seconds for _ in range(80)]
    steps = [one - other for one, other in pairwise(before)]
    assert max(steps) < 0.7
    assert sum(step > 0 for step in steps) > 0.8 * len(steps)


def test_the_pace_is_not_known_from_one_batch_or_from_small_ones() -> None:
    pace = Pace()
    for _ in range(1000):
        pace.learn(work=work_of(350, 1), size=350, frames=1, seconds=0.03)
    pace.learn(work=BATCH_BYTES_MAX, size=BATCH_BYTES_MAX, frames=4, seconds=0.4)
    assert pace.rate is None
    pace.learn(work=BATCH_BYTES_MAX, size=BATCH_BYTES_MAX, frames=4, seconds=0.6)
    assert pace.rate == pytest.approx(2 * BATCH_BYTES_MAX, rel=0.1)


def test_a_view_stands_still_before_the_bound_could_be_reached_by_what_it_could_project() -> None:
    assert STILL_SECONDS < SECONDS_MAX
