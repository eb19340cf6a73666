"""Content is stored once: every message of every history goes through here and comes out as an id.

A chat span repeats the whole conversation, so the pieces of a message array are cut out without decoding them, hashed,
and kept only if they are new. `ContentSink` gathers the new pieces of a batch; what it remembers of earlier batches is
bounded, and forgetting costs a second copy on disk, never a wrong answer.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from store.model.ids import content_id
from store.otlp.values import to_json

REMEMBERED_IDS_MAX: Final = 500_000  # About 100 MB of ids at most.
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
    """A value that was cut into pieces, and how to put it together again.

    `form` is `text` (one piece, a string), `json` (one piece, any value), `array` (pieces of a JSON array that was sent as
    a string, joined by `separator`), or `items` (pieces of an array that was sent as one).
    """

    ids: list[str]
    texts: dict[str, str]
    form: str
    separator: str = ","

    def as_json(self) -> list[Any]:
        """The compact form that a step row keeps."""
        return [self.form, self.ids] if self.separator == "," else [self.form, self.ids, self.separator]


class ContentSink:
    """Gathers the new pieces of one batch after another. One thread's."""

    def __init__(self) -> None:
        self._remembered: OrderedDict[str, None] = OrderedDict()
        self._new: dict[str, Content] = {}

    def put(self, tenant: str, text: str, media_type: str) -> str:
        """Keep one piece; returns its id."""
        piece_id = content_id(tenant, text.encode("utf-8", "surrogatepass"))
        if piece_id in self._remembered:
            self._remembered.move_to_end(piece_id)
        elif piece_id not in self._new:
            self._new[piece_id] = Content(tenant, piece_id, media_type, text)
        return piece_id

    def put_value(self, tenant: str, value: Any) -> Pieces:
        """Keep an attribute's value whole."""
        if isinstance(value, str):
            looks_like_json = (value[:1], value[-1:]) in (("{", "}"), ("[", "]"))
            return self._put_all(tenant, [value], JSON if looks_like_json else TEXT, "text")
        return self._put_all(tenant, [to_json(value)], JSON, "json")

    def put_array(self, tenant: str, value: Any) -> Pieces:
        """Keep an array piece by piece, whether it was sent as one or as a JSON string; anything else whole."""
        if isinstance(value, list):
            return self._put_all(tenant, [to_json(item) for item in value], JSON, "items")
        cut = cut_array(value) if isinstance(value, str) else None
        if cut is None:
            return self.put_value(tenant, value)
        return self._put_all(tenant, cut[0], JSON, "array", cut[1])

    def _put_all(self, tenant: str, texts: list[str], media_type: str, form: str, separator: str = ",") -> Pieces:
        ids = [self.put(tenant, text, media_type) for text in texts]
        return Pieces(ids, dict(zip(ids, texts, strict=True)), form, separator)

    def take(self) -> list[Content]:
        """The new pieces since the last call. They count as remembered once the caller has stored them: see `stored`."""
        taken = list(self._new.values())
        self._new = {}
        return taken

    def stored(self, pieces: list[Content]) -> None:
        """Remember pieces that are safely in the view."""
        for piece in pieces:
            self._remembered[piece.content_id] = None
        while len(self._remembered) > REMEMBERED_IDS_MAX:
            self._remembered.popitem(last=False)


def cut_array(text: str) -> tuple[list[str], str] | None:
    """The items of a JSON array as they stand in `text`, and the separator; None where joining would not give it back."""
    encoded = text.encode("utf-8", "surrogatepass")
    if not encoded.startswith(b"["):
        return None
    try:
        raws = [bytes(raw) for raw in _RAW_LIST.decode(encoded)]
    except (msgspec.DecodeError, RecursionError):
        return None
    for separator in _SEPARATORS:
        if b"[" + separator.join(raws) + b"]" == encoded:
            return [raw.decode("utf-8", "surrogatepass") for raw in raws], separator.decode()
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
