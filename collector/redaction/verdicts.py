"""What a rule found in a piece of text is remembered, for agents send the same messages again with every model call.

A verdict follows from the piece and from whether its edges are the text's, so what is remembered needs no policy and no
request. Of the piece itself a digest is kept and nothing else: this memory holds no text of anybody.
"""

from hashlib import blake2b
from typing import Final

from collector.redaction.rules import Rule

Spans = tuple[tuple[int, int], ...] | None
"""Where in the piece values are; None where a match comes to an edge that is not the text's."""

VERDICTS_KEPT: Final = 8192
"""Of the latest, twice over: about 4 MB a policy. The histories that are being sent at a time have some hundreds."""
PIECE_BYTES_MAX: Final = 8192
"""A longer one is judged anew: it is seldom the same again, because what was added to a history is in it."""
_DIGEST_BYTES: Final = 16

_Key = tuple[str, bytes, tuple[bool, bool], bytes]


class Verdicts:
    """The latest verdicts. Any thread's: what two of them do at once is at worst done twice."""

    def __init__(self) -> None:
        self._young: dict[_Key, Spans] = {}
        self._old: dict[_Key, Spans] = {}

    @staticmethod
    def key(rule: Rule, piece: bytes, edges: tuple[bool, bool]) -> _Key:
        """What a verdict is remembered by."""
        return rule.name, rule.pattern, edges, blake2b(piece, digest_size=_DIGEST_BYTES).digest()

    def known(self, key: _Key) -> tuple[bool, Spans]:
        """Whether there is a verdict, and which."""
        young = self._young
        if key in young:
            return True, young[key]
        try:
            spans = self._old[key]
        except KeyError:
            return False, None
        self.remember(key, spans)
        return True, spans

    def remember(self, key: _Key, spans: Spans) -> None:
        """Keep a verdict, and forget the oldest where there are too many."""
        young = self._young
        if len(young) >= VERDICTS_KEPT:
            self._old, self._young = young, {}
            young = self._young
        young[key] = spans
