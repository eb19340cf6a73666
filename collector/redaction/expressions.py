r"""Regular expressions in linear time: RE2 finds a value in a text, Hyperscan finds candidates in a whole request.

Both read a pattern as bytes of UTF-8: `.` and a class stand for one byte, `\w`, `\d`, `\b` are ASCII, so that the two
agree on what a pattern means (Hyperscan's own UTF-8 mode forbids to scan protobuf). Neither knows backreferences or
lookaround, which is why neither can be made slow by an input. Hyperscan says only where matches end: asked where they begin,
it crashes the process on some patterns (ADR 0015).

A pattern becomes its own prefilter by losing its anchors: without them it matches wherever it did and maybe elsewhere.
They have to go because a field of protobuf begins and ends among other bytes, where nothing says so.
"""

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final

import hyperscan
import re2

from collector.errors import RedactionUnavailable
from collector.redaction.errors import ExpressionRefused

Candidate = tuple[int, int, int]
"""Of a match or of several near each other: where the last byte of the first and of the last is, and the pattern's index."""

NEAR_BYTES: Final = 512
"""Matches of a pattern within so many bytes are one candidate: what is kept of a body that is full of them is bounded."""

MATCHES_MAX: Final = 50_000
"""In one scan. Each is told to Python: ten a span of long messages are 10,000 of the largest request, and 16 MB of digits 50
million. With more, texts are looked at one by one and whole, and of each only which patterns match."""
FLOOD: Final = -1
"""The index that candidates have, over all of the bytes, where there are more matches than are told."""

PATTERN_BYTES_MAX: Final = 4000
"""Of an own rule. The longest built-in one has 700; a list of words belongs into several rules."""
PROGRAM_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of RE2's program and its cache, for each pattern: RE2's own default. It refuses what does not fit."""
_ASSERTIONS: Final = frozenset(b"bBAz")
_QUANTIFIERS: Final = frozenset(b"*+?{")

_REMEDY: Final = (
    "write it without backreferences and lookaround, as RE2 takes it (docs/redaction.md says what can be had)"
)


def compiled(pattern: bytes) -> Any:
    """The pattern for RE2. Raises ExpressionRefused."""
    if len(pattern) > PATTERN_BYTES_MAX:
        raise ExpressionRefused(
            f"it has {len(pattern):,} bytes; {PATTERN_BYTES_MAX:,} are allowed: make several rules of it"
        )
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = PROGRAM_BYTES_MAX
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        said = error.args[0] if error.args else error
        text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        raise ExpressionRefused(f"the engine refuses it: {text}; {_REMEDY}") from error


def without_anchors(pattern: bytes) -> bytes:
    r"""The pattern less `^`, `$`, `\b`, `\B`, `\A`, `\z`. Raises ExpressionRefused where it cannot tell what is one."""
    kept = bytearray()
    in_class = False
    at = 0
    while at < len(pattern):
        one = pattern[at]
        width = 1
        if one == ord("\\"):
            width = 2
            escaped = pattern[at + 1] if at + 1 < len(pattern) else 0
            if escaped in b"QC":
                raise ExpressionRefused(f"\\{chr(escaped)} is not allowed; {_REMEDY}")
            if not in_class and escaped in _ASSERTIONS:
                at += _anchor_width(pattern, at, width)
                continue
        elif in_class:
            if one > 0x7F:
                raise ExpressionRefused(
                    "a class holds single bytes, and this one a character of several; write (?:a|b)"
                )
            if pattern.startswith(b"[:", at):  # A class by its name, as [[:alpha:]].
                width = pattern.index(b":]", at) + 2 - at if b":]" in pattern[at:] else 1
            in_class = one != ord("]") or width > 1
        elif one == ord("["):
            in_class = True
            # A bracket that stands first belongs to the class.
            width = 2 if pattern.startswith(b"[^", at) else 1
            width += pattern.startswith(b"]", at + width)
        elif one in b"^$":
            at += _anchor_width(pattern, at, width)
            continue
        kept += pattern[at : at + width]
        at += width
    return bytes(kept)


def _anchor_width(pattern: bytes, at: int, width: int) -> int:
    if at + width < len(pattern) and pattern[at + width] in _QUANTIFIERS:
        raise ExpressionRefused(f"an anchor cannot be repeated (at byte {at + 1}); leave the repetition away")
    return width


_FLAGS: Final[int] = hyperscan.HS_FLAG_PREFILTER | hyperscan.HS_FLAG_DOTALL


class _Database:
    """Patterns compiled for Hyperscan. Thread-safe: each thread has a scratch space of its own."""

    def __init__(self, patterns: Sequence[bytes], flags: int) -> None:
        self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        self._threads = threading.local()
        count = len(patterns)
        try:
            self._database.compile(
                expressions=list(patterns), ids=list(range(count)), elements=count, flags=[flags] * count
            )
        except hyperscan.HyperscanError as error:
            raise ExpressionRefused(f"the engine refuses it: {error}; {_REMEDY}") from error

    def scan(self, data: bytes, hear: Callable[[int, int, int, int, object], bool | None]) -> bool:
        """Call `hear(pattern, start, end, ...)` for every match, until it returns True. Raises RedactionUnavailable.

        Returns whether everything was scanned.
        """
        try:
            scratch = getattr(self._threads, "scratch", None)
            if scratch is None:
                scratch = self._threads.scratch = hyperscan.Scratch(self._database)
            self._database.scan(data, match_event_handler=hear, scratch=scratch)
        except hyperscan.ScanTerminated:
            return False
        except (hyperscan.HyperscanError, MemoryError) as error:
            raise RedactionUnavailable(f"the engine that looks for secrets failed ({error}); send it again") from error
        return True


class Prefilter:
    """Patterns that are looked for in one pass over bytes."""

    def __init__(self, patterns: Sequence[bytes]) -> None:
        """Raises ExpressionRefused where Hyperscan cannot do one of them."""
        self._patterns = list(patterns)
        self._database = _Database(self._patterns, _FLAGS)

    def candidates(self, data: bytes) -> list[Candidate]:
        """Where the patterns match, sorted; matches of one pattern that are near each other are one candidate.

        Where they are more than MATCHES_MAX, all of the bytes are candidates of FLOOD, and of nothing else.

        Raises RedactionUnavailable where the engine fails.
        """
        found: list[Candidate] = []
        latest: dict[int, list[int]] = {}
        left = MATCHES_MAX

        def hear(pattern: int, _start: int, end: int, _flags: int, _context: object) -> bool | None:
            nonlocal left
            left -= 1
            if left < 0:
                return True
            near = latest.get(pattern)
            if near is not None:
                if end - near[0] <= NEAR_BYTES:
                    near[1] = end - 1
                    return None
                found.append((near[0], near[1], pattern))
            latest[pattern] = [end - 1, end - 1]
            return None

        if not self._database.scan(data, hear):
            last = len(data) - 1
            return [(at, min(at + NEAR_BYTES, last), FLOOD) for at in range(0, last + 1, NEAR_BYTES + 1)]
        found += [(first, last, pattern) for pattern, (first, last) in latest.items()]
        found.sort()
        return found

    def patterns_in(self, data: bytes) -> list[int]:
        """The indexes of the patterns that match anywhere. Raises RedactionUnavailable."""
        found: set[int] = set()

        def hear(pattern: int, _start: int, _end: int, _flags: int, _context: object) -> None:
            found.add(pattern)

        self._once.scan(data, hear)
        return sorted(found)

    @cached_property
    def _once(self) -> _Database:
        """Tells each pattern once. Most servers never need it."""
        return _Database(self._patterns, _FLAGS | hyperscan.HS_FLAG_SINGLEMATCH)
