"""The mark that a record carries when something of it was redacted before it was recorded.

As the mark of `store.otlp.truncation` it is an attribute of the record itself (of a span, a log record or a data point, of a
metric's metadata, or of the resource or scope that was redacted). Its value is an array of maps, one for each rule and place:
`place`, `rule`, `action`, `version` (of the policy), `length` in bytes of what was there, and `count` where there were
several values. Only the collector writes it: a sender's attribute of that name is recorded under another.
"""

from collections.abc import Mapping
from typing import Any, Final

MARK: Final = "spanledger.redacted"
SENT_MARK: Final = "spanledger.redacted.sent"
"""What a sender's own attribute of that name is recorded as: it is kept, and it is not a mark."""


def is_redacted(*holders: Mapping[str, Any]) -> bool:
    """Whether one of these attributes (of a record, its resource, its scope) carries the mark."""
    for attributes in holders:  # noqa: SIM110 (once a span: a generator would cost twice as much)
        if MARK in attributes:
            return True
    return False


def redactions(attributes: Mapping[str, Any], within: str = "") -> list[dict[str, Any]]:
    """What was redacted of a holder of attributes, as its mark says; [] for nothing. `within` goes before each place."""
    return [entry | {"place": within + entry["place"]} for entry in attributes.get(MARK, ())]
