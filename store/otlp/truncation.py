"""The mark that a record carries when something of it was cut before it was recorded.

The mark is an attribute of the record itself (of a span, a log record or a data point, or of the resource or scope that
was cut), so the journal, the record's leaf and every copy of it hold what was cut as well as what was kept. Its value is
an array of maps, one for each cut: `place`, `length` in bytes, `sha256` in hex, `reason` (the bound, by its name in
`collector.limits`), and `count` where items of a list were dropped. Only the collector writes it: a sender's attribute of
that name is recorded under another.
"""

from collections.abc import Mapping
from typing import Any, Final

MARK: Final = "spanledger.truncated"
SENT_MARK: Final = "spanledger.truncated.sent"
"""What a sender's own attribute of that name is recorded as: it is kept, and it is not a mark."""


def is_truncated(*holders: Mapping[str, Any]) -> bool:
    """Whether one of these attributes (of a record, its resource, its scope) carries the mark."""
    for attributes in holders:  # noqa: SIM110 (once a span: a generator would cost twice as much)
        if MARK in attributes:
            return True
    return False


def truncations(attributes: Mapping[str, Any], within: str = "") -> list[dict[str, Any]]:
    """What was cut of a holder of attributes, as its mark says; [] where nothing was. `within` goes before each place."""
    return [entry | {"place": within + entry["place"]} for entry in attributes.get(MARK, ())]
