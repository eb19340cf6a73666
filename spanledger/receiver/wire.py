"""The messages between the receiver process and the one that holds the journal, over a pair of Unix sockets.

A message is a header, a small document (msgpack), and two runs of bytes that are never looked at on the way: the leaf
digests and the body of a request. Each return from the kernel to Python is a wait for the interpreter's lock, which a
thread that computes may hold for 5 ms. So many small messages are read with one call, a large body is read with one
call into its own place, and what is to be sent goes out with one call. Both ends are of one release: there is no version.
"""

import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from threading import Lock
from typing import Any, Final

import msgspec

BUFFER_BYTES: Final = 4 * 1024 * 1024  # A request in one go, where the system allows that much.
READ_BYTES: Final = 64 * 1024  # Read at once: some hundred small requests, or a thousand acknowledgements.
MESSAGES_MAX: Final = 256  # Sent at once. The kernel takes 1,024 pieces, and a message is two.

_HEADER: Final = struct.Struct("<3sBIIIQ")
_MAGIC: Final = b"Slw"
# These only bound a peer that is broken. A request has at most 1 GiB (`request_max_mb`) and its marks of cuts, one digest
# for each record of two bytes or more; a page of metrics has some 100 KB.
_DOCUMENT_BYTES_MAX: Final = 64 * 1024 * 1024
_BODY_BYTES_MAX: Final = 2 * 1024 * 1024 * 1024


class Kind(IntEnum):
    """What a message is. `APPEND` and `METRICS` are asked for under a number, and answered under it."""

    START = 1
    READY = 2
    APPEND = 3
    DURABLE = 4
    REFUSED = 5
    SPACE = 6
    METRICS = 7
    ALIVE = 8
    STOP = 9
    KEYS = 10
    USED = 11
    REFUSALS = 12
    POLICY = 13


_KINDS: Final = frozenset(map(int, Kind))


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `document` is msgpack, `digests` are leaf digests side by side, `body` is a request's protobuf."""

    kind: Kind
    number: int = 0
    document: bytes = b""
    digests: bytes = b""
    body: bytes = b""

    def said(self) -> Any:
        """What the document says. Raises Ended where it says nothing that can be read."""
        try:
            return msgspec.msgpack.decode(self.document)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Ended(f"the other process sends what is no message: {error}") from error


class Ended(Exception):
    """The other end is gone, or cannot be understood, which is the same."""


class Stalled(Ended):
    """The other end is there, and does nothing."""


class Wire:
    """One end of the pair. Any thread may send; one receives."""

    def __init__(self, end: socket.socket, *, send_seconds_max: int = 0) -> None:
        """A send that gets nowhere for `send_seconds_max` is Stalled; 0 waits for ever."""
        self._end = end
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", send_seconds_max, 0))
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        self._sending = Lock()
        self._read = b""
        self._at = 0
        self._ahead = True

    def send(self, *messages: Message) -> None:
        """Send messages whole, `MESSAGES_MAX` at most. Raises Ended or Stalled, and then nothing more can be sent."""
        parts: list[bytes] = []
        for message in messages:
            document, digests, body = message.document, message.digests, message.body
            header = _HEADER.pack(_MAGIC, message.kind, message.number, len(document), len(digests), len(body))
            parts.append(b"".join((header, document, digests)))
            if body:
                parts.append(body)
        size = sum(map(len, parts))
        try:
            with self._sending:
                sent = self._end.sendmsg(parts)
                if sent < size:  # A signal came in the middle, or the time is over.
                    self._end.sendall(memoryview(b"".join(parts))[sent:])
        except OSError as error:
            self.end()  # Half a message may be sent: whatever came behind it would be read as the rest.
            if isinstance(error, BlockingIOError):  # The kernel's word for a time that is over.
                raise Stalled("it does not take what it is told") from error
            raise Ended(f"the other process cannot be told anything: {error}") from error

    def receive(self) -> Message:
        """The next message, waiting for it. Raises Ended."""
        magic, kind, number, document, digests, body = _HEADER.unpack(self._exactly(_HEADER.size))
        if magic != _MAGIC or kind not in _KINDS or document > _DOCUMENT_BYTES_MAX or body > _BODY_BYTES_MAX:
            raise Ended("the other process sends what is no message")
        head = self._exactly(document + digests)
        message = Message(Kind(kind), number, head[:document], head[document:], self._exactly(body))
        # Behind a large body comes another one, as a rule: what was read ahead of it would have to be copied to it.
        self._ahead = body < READ_BYTES
        return message

    def end(self) -> None:
        """Let both ends know that nothing more comes: whoever waits here or there raises Ended. Any thread may."""
        with suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End, and give the descriptor back. For the thread that receives."""
        self.end()
        with self._sending:
            self._end.close()

    def _exactly(self, size: int) -> bytes:
        found = self._read[self._at : self._at + size]
        self._at += len(found)
        missing = size - len(found)
        if not missing:
            return found
        pieces = [found] if found else []
        self._read, self._at = b"", 0
        while missing:
            data = self._from_kernel(missing)
            if len(data) > missing:
                self._read, self._at = data, missing
                data = data[:missing]
            missing -= len(data)
            pieces.append(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _from_kernel(self, missing: int) -> bytes:
        try:
            if self._ahead and missing < READ_BYTES:
                data = self._end.recv(READ_BYTES)
            else:
                data = self._end.recv(missing, socket.MSG_WAITALL)
        except (OSError, MemoryError) as error:
            raise Ended(f"the other process is gone: {error}") from error
        if not data:
            raise Ended("the other process is gone")
        return data
