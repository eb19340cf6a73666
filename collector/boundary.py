"""The stage between decoding and the journal: nothing becomes durable that has not passed it.

`collector.redaction.boundary` is the one that a server has. Whatever a boundary raises, nothing of the request is stored.
"""

from dataclasses import dataclass, field
from typing import Protocol

from collector.errors import RedactionUnavailable
from store.otlp.decode import Decoded


@dataclass(frozen=True, slots=True)
class Passed:
    """What may become durable of a request. `redactions` counts what was taken out, by the name of the rule."""

    decoded: Decoded
    redactions: dict[str, int] = field(default_factory=dict[str, int])


class Boundary(Protocol):
    """Decides what of a request may be recorded."""

    def apply(self, tenant: str, decoded: Decoded) -> Passed:
        """What may become durable of `decoded`, which is the boundary's from now on: its request may be changed.

        Thread-safe. Whatever it raises, nothing of the request is stored.
        """
        ...


class PassThrough:
    """A boundary that lets everything through unchanged: where redaction was turned off, and in tests of other things."""

    def apply(self, tenant: str, decoded: Decoded) -> Passed:
        return Passed(decoded)


class Shut:
    """A boundary that lets nothing through: what it should have done could not be read."""

    def apply(self, tenant: str, decoded: Decoded) -> Passed:
        """Raises RedactionUnavailable."""
        raise RedactionUnavailable("there is no policy of redaction to follow; the log says why")
