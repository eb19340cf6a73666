"""The messages between the receiver process and the one that holds the journal, over a pair of Unix sockets.

A message is a header, a small JSON document, and two runs of bytes that are never looked at on the way: the leaf digests
and the body of a request. A receive call names its whole length, so that the kernel gathers it: each return to Python is
a wait for the interpreter's lock. Both ends are of one release, so there is no version.
"""

import socket
import struct
from dataclasses import dataclass
from enum import IntEnum
from threading import Lock
from typing import Any, Final

import msgspec

BUFFER_BYTES: Final = 4 * 1024 * 1024  # A request in one go, where the system allows that much.
_HEADER: Final = struct.Struct("<BxxxIIIQ")
_DOCUMENT_BYTES_MAX: Final = 64 * 1024 * 1024  # A page of metrics is some 100 KB; this only bounds a broken peer.


class Kind(IntEnum):
    """What a message is. `APPEND` and `METRICS` are asked for under a number, and answered under it."""

    READY = 1
    APPEND = 2
    DURABLE = 3
    REFUSED = 4
    SPACE = 5
    METRICS = 6
    STOP = 7


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `document` is JSON, `digests` are leaf digests side by side, `body` is a request's protobuf."""

    kind: Kind
    number: int = 0
    document: bytes = b""
    digests: bytes = b""
    body: bytes = b""

    def said(self) -> Any:
        """What the document says."""
        return msgspec.json.decode(self.document)


class Ended(Exception):
    """The other end is gone."""


class Wire:
    """One end of the pair. Any thread may send; one receives."""

    def __init__(self, end: socket.socket, *, send_seconds_max: int = 0) -> None:
        """A send that gets nowhere for `send_seconds_max` counts as the other end's death; 0 waits for ever."""
        self._end = end
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", send_seconds_max, 0))
        self._sending = Lock()
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)

    def send(self, message: Message) -> None:
        """Send a message whole. Raises Ended."""
        header = _HEADER.pack(
            message.kind, message.number, len(message.document), len(message.digests), len(message.body)
        )
        try:
            with self._sending:
                self._end.sendall(b"".join((header, message.document, message.digests)))
                if message.body:
                    self._end.sendall(message.body)
        except OSError as error:
            raise Ended(f"the other process cannot be told anything: {error}") from error

    def receive(self, *, seconds_max: int = 0) -> Message:
        """The next message, waiting for it for `seconds_max` (0: for ever). Raises Ended."""
        self._end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds_max, 0))
        kind, number, document, digests, body = _HEADER.unpack(self._exactly(_HEADER.size))
        if document > _DOCUMENT_BYTES_MAX:
            raise Ended("the other process sends what is no message")
        return Message(Kind(kind), number, self._exactly(document), self._exactly(digests), self._exactly(body))

    def _exactly(self, size: int) -> bytes:
        if not size:
            return b""
        try:
            data = self._end.recv(size, socket.MSG_WAITALL)
            while len(data) < size:  # A signal may end the wait early.
                more = self._end.recv(size - len(data), socket.MSG_WAITALL)
                if not more:
                    raise Ended("the other process is gone")
                data += more
        except OSError as error:
            raise Ended(f"the other process is gone: {error}") from error
        return data

    def close(self) -> None:
        """Let the other end know that nothing more comes."""
        self._end.close()
