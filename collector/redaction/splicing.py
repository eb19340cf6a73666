"""A request written anew where it was changed, and taken over byte by byte where it was not.

A redacted request is as a rule one record of hundreds. The official runtime writes that record; what encloses it gets new
lengths. The result is what the runtime would write of the whole request, as it is canonical before and after.
"""

from collections.abc import Iterable
from typing import Any, Final

from collector.redaction.places import behind, read_varint
from store.otlp.wire import varint

RECORD_STEPS: Final = 3
"""From a request to a record: by way of resource and scope."""
_DELIMITED: Final = 2
_Step = tuple[str, int]


def spliced(body: bytes, request: Any, paths: Iterable[tuple[_Step, ...]]) -> bytes:
    """The canonical bytes of `request`, of which `body` are those before the messages at `paths` were changed."""
    changed = {path[:RECORD_STEPS] for path in paths}
    if () in changed:
        return request.SerializeToString()
    pieces: list[bytes | memoryview] = []
    _Splice(body, pieces).within(request, 0, len(body), changed)
    return b"".join(pieces)


class _Splice:
    def __init__(self, body: bytes, pieces: list[bytes | memoryview]) -> None:
        self._body = body
        self._view = memoryview(body)  # Slices of it copy nothing.
        self._pieces = pieces

    def within(self, message: Any, start: int, end: int, changed: set[tuple[_Step, ...]]) -> int:
        """Add the pieces of a message that stood there, and return how many bytes they are."""
        body, view, pieces = self._body, self._view, self._pieces
        wanted = {
            name: {path[0][1] for path in changed if path[0][0] == name} for name in {path[0][0] for path in changed}
        }
        numbers = {message.DESCRIPTOR.fields_by_name[name].number: name for name in wanted}
        seen = dict.fromkeys(numbers, -1)
        size, kept, at = 0, start, start
        while at < end:
            field = at
            tag, at = read_varint(body, at)
            number = tag >> 3
            if tag & 7 != _DELIMITED:
                at = behind(body, at, tag & 7, number)
                continue
            length, content = read_varint(body, at)
            at = content + length
            name = numbers.get(number)
            if name is None:
                continue
            seen[number] += 1
            index = seen[number] if -1 not in wanted[name] else -1
            if index not in wanted[name]:
                continue
            held: Any = getattr(message, name)
            below = {path[1:] for path in changed if path[0] == (name, index)}
            place = len(pieces)
            pieces += (view[kept:field], b"")
            if () in below:
                pieces.append(held.SerializeToString() if index < 0 else held[index].SerializeToString())
                written = len(pieces[-1])
            else:
                written = self.within(held if index < 0 else held[index], content, at, below)
            pieces[place + 1] = varint(tag) + varint(written)
            size += field - kept + len(pieces[place + 1]) + written
            kept = at
        pieces.append(view[kept:end])
        return size + end - kept
