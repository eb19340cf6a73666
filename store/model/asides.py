"""What a record says beside what it tells of itself: a verdict, that a span has begun, that an attempt within it failed.

Few dialects send any of it, so the plan of a shape has what such a span can hold, which is nothing for nearly all. The rules
are data; `store/model/aside_reader.py` follows them.

- `[[verdict]]`: `attribute` holds it, of a step (of `kinds`, none: any) or of a log record (named `event`); `path` leads into
a JSON value; `values` spells verdicts, and without it the value is what was answered, whatever it means (`reason`); `reason`
is the attribute that says why, `call_id` and `name` those of the call, `source` the one that tells who decided by `sources`.
- `[start_marker]`: a span whose `attribute` has `value` is not a step but word that its parent has begun; `parent` has that
one's own parent. - `[attempts]`: span events whose name fits `failed` are attempts that came before the one that counts.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class VerdictRule:
    """See the module."""

    attribute: str
    event: str | None = None
    kinds: frozenset[str] = frozenset()
    path: tuple[str, ...] = ()
    values: dict[str, str] = field(default_factory=dict[str, str])
    reason: str | None = None
    call_id: str | None = None
    name: str | None = None
    source: str | None = None
    sources: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    """What says who decided -> the decision's `kind`, and `by` whom."""


@dataclass(frozen=True, slots=True)
class StartRule:
    """See the module."""

    attribute: str
    value: str
    parent: str


@dataclass(frozen=True, slots=True)
class Asides:
    """The rules of a dialect."""

    verdicts: tuple[VerdictRule, ...] = ()
    start: StartRule | None = None
    attempt: re.Pattern[str] | None = None

    def of_shape(self, keys: tuple[str, ...]) -> "Asides | None":
        """Those that a span with these attributes can need; None where none can."""
        verdicts = tuple(rule for rule in self.verdicts if rule.event is None and rule.attribute in keys)
        start = self.start if self.start is not None and self.start.attribute in keys else None
        return Asides(verdicts, start, self.attempt) if verdicts or start or self.attempt else None


NONE: Final = Asides()


def compile_asides(own: dict[str, Any], base: Asides) -> Asides:
    """The rules of a dialect's file, before those that it extends."""
    verdicts = tuple(
        VerdictRule(
            attribute=rule["attribute"],
            event=rule.get("event"),
            kinds=frozenset(rule.get("kinds", ())),
            path=tuple(rule["path"].split(".")) if "path" in rule else (),
            values=rule.get("values", {}),
            reason=rule.get("reason"),
            call_id=rule.get("call_id"),
            name=rule.get("name"),
            source=rule.get("source"),
            sources=rule.get("sources", {}),
        )
        for rule in own.get("verdict", [])
    )
    return Asides(
        verdicts + base.verdicts,
        StartRule(**own["start_marker"]) if "start_marker" in own else base.start,
        re.compile(own["attempts"]["failed"]) if "attempts" in own else base.attempt,
    )
