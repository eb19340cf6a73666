"""The words of the record: signal, position, frame. Everything else in the store speaks in them."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from store.errors import BadQuery

DEFAULT_TENANT: Final = "default"


class Signal(IntEnum):
    """What an OTLP request carries. The numbers are written into frames: never renumber."""

    TRACES = 1
    LOGS = 2
    METRICS = 3

    @property
    def label(self) -> str:
        return self.name.lower()


class FrameType(IntEnum):
    """What a journal frame holds. The numbers are written into frames: never renumber."""

    OTLP = 1
    ACCESS = 2
    # 3 policy, 4 erasure: reserved for the ledger.


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the record, as a receipt names it. Opaque to clients: they hand it back, they never look inside."""

    journal_id: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.journal_id}:{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Read a receipt. Raises BadQuery where it is not one."""
        journal_id, separator, sequence = text.partition(":")
        if not (separator and journal_id and sequence.isascii() and sequence.isdigit() and len(sequence) < 20):
            raise BadQuery("min_position", f"{text!r} is not a position; send back one that a receipt gave")
        return cls(journal_id, int(sequence))


@dataclass(frozen=True, slots=True)
class FrameDraft:
    """What a receiver hands to the journal: one accepted request, decompressed, as OTLP protobuf. Or access records
    (`store.access_records`), which have no signal.

    `leaves` are the SHA-256 digests of the records (spans, log records, metrics) in body order: the frame's digest is
    the root over them, so that a record can one day be erased and the rest still be checked.
    """

    tenant: str
    signal: Signal | None
    body: bytes
    leaves: tuple[bytes, ...]
    type: FrameType = FrameType.OTLP


@dataclass(frozen=True, slots=True)
class Frame:
    """One durable entry of the journal. `received_ns` is UTC nanoseconds and never goes backwards along `sequence`.

    `signal` is None for a frame that is not of telemetry.
    """

    sequence: int
    type: FrameType
    tenant: str
    signal: Signal | None
    received_ns: int
    records: int
    root: bytes = field(repr=False)
    body: bytes = field(repr=False)
    leaves: tuple[bytes, ...] = field(default=(), repr=False, compare=False)
    """The records' digests where this process made them; a frame that was read back has none: work them out."""

    @property
    def label(self) -> str:
        """What it holds, for people: its signal, or its type."""
        return self.signal.label if self.signal is not None else self.type.name.lower()
