"""The mark on what was redacted: by which rule, of which policy, where and how much, never what."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from store.otlp.redaction import MARK, SENT_MARK


@dataclass(frozen=True, slots=True)
class Redaction:
    """Something that was redacted. `length` is in bytes of what was there."""

    place: str
    rule: str
    action: str
    length: int


def write_mark(attributes: Any, redacted: Iterable[Redaction], version: str) -> None:
    """Say in `attributes` what was redacted, before all others: what comes last may be cut."""
    sums: dict[tuple[str, str, str], list[int]] = {}
    for one in redacted:
        total = sums.setdefault((one.place, one.rule, one.action), [0, 0])
        total[0] += one.length
        total[1] += 1
    if not sums:
        return
    mark: Any = attributes.add(key=MARK)
    entries: Any = mark.value.array_value.values
    for (place, rule, action), (length, count) in sums.items():
        said: Any = entries.add().kvlist_value.values
        said.add(key="place").value.string_value = place
        said.add(key="rule").value.string_value = rule
        said.add(key="action").value.string_value = action
        said.add(key="version").value.string_value = version
        said.add(key="length").value.int_value = length
        if count > 1:
            said.add(key="count").value.int_value = count
    attributes.insert(0, attributes.pop())


def rename_sent_mark(attributes: Any) -> None:
    """What a sender says under the mark's name is recorded under another."""
    for pair in attributes:
        if pair.key == MARK:
            pair.key = SENT_MARK
