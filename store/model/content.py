"""Content is stored once: every message of every history goes through here and comes out as an id.

A chat span repeats the whole conversation, so the pieces of a message array are cut out without decoding them, hashed,
and kept only if they are new. `ContentSink` gathers the new pieces of a batch; what it remembers of earlier batches is
bounded, and forgetting costs a second copy on disk, never a wrong answer.
"""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import msgspec

from store.model.ids import content_id
from store.otlp.values import to_json_bytes

REMEMBERED_IDS_MAX: Final = 500_000  # About 100 MB of ids at most.
REMEMBERED_HISTORY_BYTES_MAX: Final = 32 * 1024 * 1024  # Texts of histories, and twice that in their pieces.
INLINE_BYTES_MAX: Final = 512  # A shorter attribute value is kept on its step: a reference would be as long.

TEXT: Final = "text/plain"
JSON: Final = "application/json"

_RAW_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_SEPARATORS: Final = (b",", b", ")


@dataclass(frozen=True, slots=True)
class Content:
    """One piece, as it will be stored."""

    tenant: str
    content_id: str
    media_type: str
    text: str


@dataclass(frozen=True, slots=True)
class Pieces:
    """A value that was cut into pieces (`ids`, and `raws` as bytes), and how to put it together again.

    `form` is `text` (one piece, a string), `json` (one piece, any value), `array` (pieces of a JSON array that was sent as
    a string, joined by `separator`), or `items` (pieces of an array that was sent as one).
    """

    ids: list[str]
    raws: list[bytes]
    form: str
    separator: str = ","

    def as_json(self, column: str | None = None) -> list[Any]:
        """The compact form that a row keeps. Where a column of the row holds the same ids, its name stands for them."""
        ids = column or self.ids
        return [self.form, ids] if self.separator == "," else [self.form, ids, self.separator]


class ContentSink:
    """Gathers the new pieces of one batch after another. One thread's."""

    def __init__(self) -> None:
        self._known: dict[str, None] = {}  # In the order in which they came.
        self._new: list[Content] = []
        self._grown: OrderedDict[tuple[str, ...], tuple[str, Pieces]] = OrderedDict()
        self._grown_bytes = 0

    def put(self, tenant: str, raw: bytes, media_type: str) -> str:
        """Keep one piece; returns its id."""
        piece_id = content_id(tenant, raw)
        if piece_id not in self._known:
            self._known[piece_id] = None
            self._new.append(Content(tenant, piece_id, media_type, raw.decode("utf-8", "surrogatepass")))
        return piece_id

    def put_value(self, tenant: str, value: Any) -> Pieces:
        """Keep an attribute's value whole."""
        if isinstance(value, str):
            looks_like_json = (value[:1], value[-1:]) in (("{", "}"), ("[", "]"))
            return self._put_all(tenant, [_bytes(value)], JSON if looks_like_json else TEXT, "text")
        return self._put_all(tenant, [to_json_bytes(value)], JSON, "json")

    def put_array(self, tenant: str, value: Any, grows: tuple[str, ...] = ()) -> Pieces:
        """Keep an array piece by piece, whether it was sent as one or as a JSON string; anything else whole.

        `grows` names a conversation (what a history belongs to): where the value only continues what was put under that
        name before, the pieces already cut are not cut, hashed or looked at again.
        """
        if isinstance(value, str):
            return self._put_text_array(tenant, value, grows)
        if isinstance(value, list):
            return self._put_all(tenant, [to_json_bytes(item) for item in value], JSON, "items")
        return self.put_value(tenant, value)

    def take(self) -> list[Content]:
        """The new pieces since the last call. A caller that fails to store them must go on with a new sink."""
        taken, self._new = self._new, []
        for oldest in list(islice(self._known, max(len(self._known) - REMEMBERED_IDS_MAX, 0))):
            del self._known[oldest]
        return taken

    def _put_text_array(self, tenant: str, text: str, grows: tuple[str, ...]) -> Pieces:
        before, known = self._grown.get(grows, ("", None)) if grows else ("", None)
        if known is not None and before == text:
            return known
        begun = known if known is not None and text.startswith(before[:-1]) else None
        pieces = self._continue(tenant, text, len(before) - 1, begun) if begun is not None else None
        if pieces is None:
            cut = cut_array(text)
            if cut is None:
                return self.put_value(tenant, text)
            pieces = self._put_all(tenant, cut[0], JSON, "array", cut[1])
        if grows:
            self._remember_grown(grows, text, pieces)
        return pieces

    def _continue(self, tenant: str, text: str, known_chars: int, begun: Pieces) -> Pieces | None:
        rest = text[known_chars:]
        if not begun.ids or not rest.startswith(begun.separator):
            return None
        cut = cut_array("[" + rest[len(begun.separator) :])
        if cut is None or not cut[0] or (len(cut[0]) > 1 and cut[1] != begun.separator):
            return None  # Nothing behind the separator is not JSON, however much it looks like the history.
        added = self._put_all(tenant, cut[0], JSON, "array", begun.separator)
        return Pieces(begun.ids + added.ids, begun.raws + added.raws, "array", begun.separator)

    def _remember_grown(self, grows: tuple[str, ...], text: str, pieces: Pieces) -> None:
        before = self._grown.pop(grows, None)
        self._grown_bytes += len(text) - (len(before[0]) if before else 0)
        self._grown[grows] = (text, pieces)
        while self._grown_bytes > REMEMBERED_HISTORY_BYTES_MAX:
            _, (oldest, _) = self._grown.popitem(last=False)
            self._grown_bytes -= len(oldest)

    def _put_all(self, tenant: str, raws: list[bytes], media_type: str, form: str, separator: str = ",") -> Pieces:
        return Pieces([self.put(tenant, raw, media_type) for raw in raws], raws, form, separator)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def cut_array(text: str) -> tuple[list[bytes], str] | None:
    """The items of a JSON array as they stand in `text`, and the separator; None where joining would not give it back."""
    encoded = _bytes(text)
    if not encoded.startswith(b"["):
        return None
    try:
        raws = [bytes(raw) for raw in _RAW_LIST.decode(encoded)]
    except (msgspec.DecodeError, RecursionError):
        return None
    for separator in _SEPARATORS:
        if b"[" + separator.join(raws) + b"]" == encoded:
            return raws, separator.decode()
    return None


def join_pieces(pieces: list[Any], texts: dict[str, str]) -> Any:
    """A value from its compact form (see `Pieces.as_json`) and the texts of its pieces."""
    form, ids, *rest = pieces
    found = [texts.get(piece_id, "null") for piece_id in ids]
    match form:
        case "text":
            return found[0]
        case "json":
            return msgspec.json.decode(found[0])
        case "items":
            return [msgspec.json.decode(text) for text in found]
        case _:
            return "[" + (rest[0] if rest else ",").join(found) + "]"
