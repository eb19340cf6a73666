"""The stage between decoding and the journal: nothing becomes durable that has not passed it.

Redaction of secrets and personal data comes with its own issue; the stage exists from the first day, so that no path to
the journal can be built around it.
"""

from typing import Protocol

from store.otlp.decode import Decoded


class Boundary(Protocol):
    """Decides what of a request may be recorded."""

    def apply(self, tenant: str, decoded: Decoded) -> Decoded:
        """What may become durable of `decoded`. Whatever it raises, nothing of the request is stored."""
        ...


class PassThrough:
    """A boundary that lets everything through unchanged."""

    def apply(self, tenant: str, decoded: Decoded) -> Decoded:
        return decoded
