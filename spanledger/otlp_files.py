"""OTLP files as the request bodies they hold: protobuf, JSON, and JSON lines, each also gzip or zstd.

Compression is told by the first bytes, the form by the name's ending and, where that says nothing, by the first byte.
What one file holds is never taken into memory at once: lines come one by one, and a single body has a bound. A body that
cannot be used is yielded as such, with its reason, so that it does not stop those behind it.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import msgspec
import zstandard

from spanledger.errors import FrontDoorError
from spanledger.signals import AmbiguousSignal, json_signal, protobuf_signal, record_count
from store.record import Signal

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"

_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_COMPRESSED_ENDINGS: Final = (".gz", ".zst")
_JSON_ENDINGS: Final = (".json", ".jsonl", ".ndjson")
_LINES_ENDINGS: Final = (".jsonl", ".ndjson")
_PROTOBUF_ENDINGS: Final = (".pb", ".binpb", ".protobuf", ".otlp")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_INDEX_NAME: Final = "index.json"
_INDEX_BYTES_MAX: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Body:
    """One request as it can be sent. `records` counts its spans, log records or metrics."""

    where: str
    signal: Signal
    content_type: str
    payload: bytes
    records: int


@dataclass(frozen=True, slots=True)
class Unusable:
    """Something in a file that is no request, and why."""

    where: str
    reason: str


def check_readable(path: Path) -> None:
    """Raises FrontDoorError where the file cannot be opened."""
    _open(path).close()


def bodies_of(path: Path, signal: Signal | None, bytes_max: int) -> Iterator[Body | Unusable]:
    """Every request body of a file, in order. `signal` says what they are where the content does not.

    Raises FrontDoorError where the file cannot be opened; a failure while reading ends the file as Unusable.
    """
    with _open(path) as raw:
        try:
            yield from _bodies(path, _decompressed(raw), signal, bytes_max)
        except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
            yield Unusable(str(path), f"cannot be read to its end: {error}")


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        reason = error.strerror or str(error)
        raise FrontDoorError(f"cannot read {path}: {reason}", "name OTLP files that exist and can be read") from error


def _decompressed(raw: BinaryIO) -> BinaryIO:
    magic = raw.read(4)
    raw.seek(0)
    if magic.startswith(_GZIP_MAGIC):
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if magic == _ZSTD_MAGIC:
        reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, reader)))
    return raw


def _bodies(path: Path, content: BinaryIO, signal: Signal | None, bytes_max: int) -> Iterator[Body | Unusable]:
    plain = path.with_suffix("") if path.suffix.lower() in _COMPRESSED_ENDINGS else path
    ending = plain.suffix.lower()
    first = content.readline(bytes_max + 1)
    if ending in _PROTOBUF_ENDINGS or (ending not in _JSON_ENDINGS and not _looks_like_json(first)):
        payload = first + content.read(bytes_max + 1 - len(first))
        yield _protobuf_body(path, plain.name, payload, signal, bytes_max)
    elif ending in _LINES_ENDINGS or _is_json_object(first):
        yield from _lines(path, first, content, signal, bytes_max)
    else:
        payload = first + content.read(bytes_max + 1 - len(first))
        yield _json_body(str(path), payload, signal, bytes_max)


def _lines(
    path: Path, first: bytes, content: BinaryIO, signal: Signal | None, bytes_max: int
) -> Iterator[Body | Unusable]:
    number, text = 1, first
    while text:
        where = f"{path} line {number}"
        if len(text) > bytes_max:
            yield _too_large(where, bytes_max)
            while text and not text.endswith(b"\n"):
                text = content.readline(bytes_max)
        elif text.strip():
            yield _json_body(where, text, signal, bytes_max)
        number, text = number + 1, content.readline(bytes_max + 1)


def _looks_like_json(text: bytes) -> bool:
    return text.removeprefix(_BYTE_ORDER_MARK).startswith(b"{")


def _is_json_object(text: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(text.removeprefix(_BYTE_ORDER_MARK)), dict)
    except msgspec.DecodeError:
        return False


def _json_body(where: str, payload: bytes, signal: Signal | None, bytes_max: int) -> Body | Unusable:
    if len(payload) > bytes_max:
        return _too_large(where, bytes_max)
    payload = payload.removeprefix(_BYTE_ORDER_MARK)
    try:
        document: Any = msgspec.json.decode(payload)
    except msgspec.DecodeError as error:
        return Unusable(where, f"is not JSON: {error}")
    try:
        found = json_signal(document)
    except AmbiguousSignal as error:
        return Unusable(where, str(error))
    if signal is not None and found is not signal:
        return Unusable(where, f"holds {found.label}, and --signal says {signal.label}")
    return Body(where, found, JSON, payload, record_count(document, found))


def _protobuf_body(path: Path, name: str, payload: bytes, signal: Signal | None, bytes_max: int) -> Body | Unusable:
    if len(payload) > bytes_max:
        return _too_large(str(path), bytes_max)
    try:
        found, records = protobuf_signal(payload, signal or _indexed_signal(path, name))
    except AmbiguousSignal as error:
        return Unusable(str(path), str(error))
    return Body(str(path), found, PROTOBUF, payload, records)


def _indexed_signal(path: Path, name: str) -> Signal | None:
    """What the folder's index.json says the file holds: a list of objects with `file` and `signal`. None: nothing."""
    index = path.with_name(_INDEX_NAME)
    try:
        with index.open("rb") as file:
            entries: Any = msgspec.json.decode(file.read(_INDEX_BYTES_MAX))
    except (OSError, msgspec.DecodeError):
        return None  # Without a usable index the content decides.
    labels = {signal.label: signal for signal in Signal}
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and cast(dict[str, Any], entry).get("file") in (name, path.name):
            return labels.get(str(cast(dict[str, Any], entry).get("signal")))
    return None


def _too_large(where: str, bytes_max: int) -> Unusable:
    return Unusable(where, f"is larger than {bytes_max // 1024**2} MiB (setting request_max_mb)")
