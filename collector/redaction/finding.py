"""What of a text is to be redacted.

Strategy: a prefilter says in one pass where something might be. There, and only there, the rule's own expression is asked,
on what surrounds the candidate, then its validator. A text with backslashes is looked at as it stands and with its escapes
undone. Where two rules find overlapping values, the one that stands first in the list has it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from collector.redaction.escapes import HIDING, Unescaped, blanked
from collector.redaction.expressions import FLOOD, Candidate, Prefilter
from collector.redaction.rules import Rule
from collector.redaction.verdicts import PIECE_BYTES_MAX, Spans, Verdicts

UNESCAPINGS_MAX: Final = 4
"""How often escapes are undone in what came out of undoing them. Doubled backslashes are undone at once and do not count."""

WIDER_REACH: Final = 8
"""How many times its reach is looked further around a place where that was not enough. Of windows that do not overlap, and of
which each is as large as what is between it and the next, that is a fixed number of times the text."""

FAILED_MAX: Final = 20_000
FOUND_MAX: Final = 100_000
"""Of one rule in one piece of text: matches that its validator refused, and values. Each costs microseconds of Python,
so either takes some tenths of a second. A text with more was made to be slow, or is a list of values: all of it is one."""


@dataclass(frozen=True, slots=True)
class Found:
    """A value that is to be redacted: where in its text, by which rule, and the value with its escapes undone."""

    start: int
    end: int
    rule: Rule
    value: bytes


class Finder:
    """Finds what a list of rules finds. Thread-safe."""

    def __init__(self, rules: Sequence[Rule], extra: Sequence[bytes] = ()) -> None:
        """`extra` are further patterns for `candidates`; each is told by its index behind the rules' (`extra_at`)."""
        self.rules = [rule for rule in rules if rule.expression is not None]
        self._ranks = {rule.name: index for index, rule in enumerate(self.rules)}
        patterns = [*HIDING]
        self._owners: list[int] = [-1] * len(HIDING)
        for index, rule in enumerate(self.rules):
            patterns += rule.prefilters
            self._owners += [index] * len(rule.prefilters)
        self.extra_at = len(patterns)
        self._prefilter = Prefilter([*patterns, *extra])
        self._verdicts = Verdicts()

    def candidates(self, data: bytes) -> list[Candidate]:
        """Where something might be: see `Prefilter.candidates`. Raises RedactionUnavailable."""
        return self._prefilter.candidates(data)

    def found_in(self, text: bytes, candidates: Iterable[Candidate], rules: Mapping[str, Rule]) -> list[Found]:
        """What `rules` (some of the finder's, by name) find in a text, in order and apart, given the candidates within it."""
        found = self._found(text, candidates, rules, 0)
        return _apart(found, self._ranks) if len(found) > 1 else found

    def _found(
        self, text: bytes, candidates: Iterable[Candidate], rules: Mapping[str, Rule], depth: int
    ) -> list[Found]:
        found: list[Found] = []
        candidates = list(candidates)
        if candidates and candidates[0][2] == FLOOD:
            candidates = [(0, len(text) - 1, pattern) for pattern in self._prefilter.patterns_in(text)]
        ranges: dict[int, list[tuple[int, int]]] = {}
        is_hidden = False
        for first, last, pattern in candidates:
            if pattern >= self.extra_at:
                continue
            owner = self._owners[pattern]
            is_hidden |= owner < 0
            ranges.setdefault(owner, []).append((first, last))
        ranges.pop(-1, None)
        sight = _Sight(text, self._verdicts)
        for owner, near in ranges.items():
            rule = rules.get(self.rules[owner].name)
            if rule is not None:
                found += sight.found_near(rule, sorted(near))
        if is_hidden and depth < UNESCAPINGS_MAX:
            plain = Unescaped(text)
            within = self._found(plain.text, self.candidates(plain.text), rules, depth + 1)
            found += [Found(*plain.span(one.start, one.end), one.rule, one.value) for one in within]
        return found


class _Sight:
    """A text while rules look at it: several of them at the same places."""

    def __init__(self, text: bytes, verdicts: Verdicts) -> None:
        self._text = text
        self._verdicts = verdicts
        self._blanked: dict[tuple[int, int], bytes] = {}

    def found_near(self, rule: Rule, near: list[tuple[int, int]]) -> list[Found]:
        """What a rule finds around its candidates."""
        reach, length = rule.reach_bytes, len(self._text)
        found: list[Found] = []
        for start, end in _windows(reach, length, near):
            more = self._between(rule, start, end)
            if more is None:  # Something reaches over the edge of what was looked at.
                more = self._between(rule, max(0, start - WIDER_REACH * reach), min(length, end + WIDER_REACH * reach))
            if more is None:
                # Once and for all: a text with many such places is not looked at again for each of them.
                return self._between(rule, 0, length) or []
            found += more
        return found

    def _between(self, rule: Rule, start: int, end: int) -> list[Found] | None:
        """What a rule finds between two places; None where a match comes to an edge that is not the text's."""
        window = self._text[start:end]
        edges = start > 0, end < len(self._text)
        if end - start > PIECE_BYTES_MAX:
            spans = self._spans(rule, window, edges, start)
        else:
            key = self._verdicts.key(rule, window, edges)
            is_known, spans = self._verdicts.known(key)
            if not is_known:
                spans = self._spans(rule, window, edges, start)
                self._verdicts.remember(key, spans)
        if spans is None:
            return None
        return [Found(start + first, start + last, rule, window[first:last]) for first, last in spans]

    def _spans(self, rule: Rule, window: bytes, edges: tuple[bool, bool], start: int) -> Spans:
        values = _values(rule, window, edges)
        if values is None:
            return None
        if b"\\" in window:
            # A letter that ends an escape would hide where a word begins.
            place = start, start + len(window)
            blank = self._blanked.get(place)
            if blank is None:
                blank = self._blanked[place] = blanked(window)
            more = _values(rule, blank, edges)
            if more is None:
                return None
            # What begins in an escape as the text stands begins behind it.
            values = more + [one for one in values if window[one[0]] == blank[one[0]] and one not in more]
        return tuple(values)


def _windows(reach: int, length: int, near: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """What to look at around candidates: apart, in order, and not more than the text in all."""
    if not reach:
        return [(0, length)]
    windows: list[tuple[int, int]] = []
    for first, last in near:
        start, end = max(0, first - reach), min(length, last + 1 + reach)
        if windows and start <= windows[-1][1]:
            windows[-1] = windows[-1][0], max(end, windows[-1][1])
        else:
            windows.append((start, end))
    return windows


def _values(rule: Rule, text: bytes, edges: tuple[bool, bool]) -> list[tuple[int, int]] | None:
    values: list[tuple[int, int]] = []
    left = FAILED_MAX
    search, validator, at = rule.expression.search, rule.validator, 0
    while match := search(text, at):
        if (edges[0] and match.start() == 0) or (edges[1] and match.end() == len(text)):
            return None
        start, end = next(span for group in rule.groups if (span := match.span(group)) != (-1, -1))
        if rule.matches_max:
            if len(values) == rule.matches_max:
                return [(0, len(text))]
            start, end = _whole_characters(text, start, end)
        if start < end and (validator is None or validator(text[start:end])):
            if len(values) == FOUND_MAX:
                return [(0, len(text))]
            values.append((start, end))
            at = end
        else:
            left -= 1
            if left < 0:
                return [(0, len(text))]
            at = start + 1  # What looked like a value may be in front of one.
    return values


def _whole_characters(text: bytes, start: int, end: int) -> tuple[int, int]:
    """A place widened to whole characters of UTF-8, because the `.` of a pattern is a byte."""
    while start > 0 and text[start] & 0xC0 == 0x80:
        start -= 1
    while end < len(text) and text[end] & 0xC0 == 0x80:
        end += 1
    return start, end


def _apart(found: list[Found], ranks: Mapping[str, int]) -> list[Found]:
    """What was found without overlaps, in the order of the text. Together they cover no less, but for the rest of a lesser
    value that begins within a greater one.
    """
    kept: list[Found] = []
    for one in sorted(found, key=lambda one: (one.start, ranks[one.rule.name], -one.end)):
        last = kept[-1] if kept else None
        if last is None or one.start >= last.end:
            kept.append(one)
        elif one.rule.name == last.rule.name:
            if one.end > last.end:
                kept[-1] = replace(last, end=one.end)
        elif ranks[one.rule.name] < ranks[last.rule.name]:
            kept[-1] = replace(last, end=one.start)
            kept.append(replace(one, end=max(one.end, last.end)))
        elif one.end > last.end and one.start > last.start:
            kept.append(replace(one, start=last.end))
    return [one for one in kept if one.end > one.start]
