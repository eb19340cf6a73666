"""OTLP requests stamped from a template: as many spans as wanted, each with ids of its own, for almost no processor time.

A span is serialised once; ids and times have a fixed width on the wire, so a new span is a copy with a few bytes written
over. That leaves the cores to the server, and makes a million spans in seconds.
"""

import math
import struct
import time
from collections.abc import Iterable, Sequence
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from bench.spans import Attribute, attributes
from bench.wire_tree import varint

SPAN_NS: Final = 1_000_000  # How long every span lasts.
_TRACE: Final = bytes(range(0x81, 0x91))
_SPAN: Final = bytes(range(0xA1, 0xA9))
_PARENT: Final = bytes(range(0xB1, 0xB9))
_START: Final = 0xC1C2C3C4C5C6C7C8
_END: Final = 0xD1D2D3D4D5D6D7D8
_FIXED64: Final = struct.Struct("<Q")
_SUBMESSAGES: Final = b"\x12"  # The tag of ResourceSpans.scope_spans and of ScopeSpans.spans.

_CHAT: Final[dict[str, Attribute]] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.response.model": "gpt-5-mini-2026-03-01",
    "gen_ai.usage.input_tokens": 1200,
    "gen_ai.usage.output_tokens": 80,
}
_TOOL: Final[dict[str, Attribute]] = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "search_tickets",
    "gen_ai.tool.type": "function",
}


class SpanStamp:
    """One kind of span. `stamp` gives its wire bytes with ids (bytes) and a start time (Unix nanoseconds) of its own."""

    def __init__(self, name: str, values: dict[str, Attribute], *, root: bool = False) -> None:
        span = Span(
            trace_id=_TRACE,
            span_id=_SPAN,
            parent_span_id=b"" if root else _PARENT,
            name=name,
            kind=Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=_START,
            end_time_unix_nano=_END,
            attributes=attributes(values),
        )
        self._bytes = span.SerializeToString()
        marks = (_TRACE, _SPAN, _FIXED64.pack(_START), _FIXED64.pack(_END))
        self._trace, self._span, self._start, self._end = (self._bytes.index(mark) for mark in marks)
        self._parent = None if root else self._bytes.index(_PARENT)

    def stamp(self, trace_id: bytes, span_id: bytes, parent_id: bytes, start_ns: int) -> bytes:
        made = bytearray(self._bytes)
        made[self._trace : self._trace + 16] = trace_id
        made[self._span : self._span + 8] = span_id
        if self._parent is not None:
            made[self._parent : self._parent + 8] = parent_id
        _FIXED64.pack_into(made, self._start, start_ns)
        _FIXED64.pack_into(made, self._end, start_ns + SPAN_NS)
        return bytes(made)


ROOT: Final = SpanStamp(
    "invoke_agent", {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "support"}, root=True
)
CHAT: Final = SpanStamp("chat gpt-5-mini", _CHAT)
TOOL: Final = SpanStamp("execute_tool search_tickets", _TOOL)


def padded(text: str) -> SpanStamp:
    """A step that carries `text` as an attribute."""
    return SpanStamp("step", {"payload": text})


class Requests:
    """Puts spans into export requests of one service."""

    def __init__(self, service: str) -> None:
        self._resource = ResourceSpans(
            resource=Resource(attributes=attributes({"service.name": service}))
        ).SerializeToString()
        self._scope = ScopeSpans(scope=InstrumentationScope(name="bench.hostile")).SerializeToString()

    def body(self, spans: Iterable[bytes]) -> bytes:
        """One ExportTraceServiceRequest."""
        scope = self._scope + b"".join(_SUBMESSAGES + varint(len(span)) + span for span in spans)
        resource = self._resource + _SUBMESSAGES + varint(len(scope)) + scope
        return b"\x0a" + varint(len(resource)) + resource


class BigTrace:
    """One trace as request bodies by index: a tree whose spans come children first, as exporters send them, the root last.

    `spans` in all, `spans_a_request` in each but the last.
    """

    FAN_OUT: Final = 8

    def __init__(self, spans: int, spans_a_request: int, trace_id: bytes) -> None:
        self.spans = spans
        self.trace_id = trace_id
        self._spans_a_request = spans_a_request
        self._requests = Requests("big-trace")
        self._begun_ns = time.time_ns() - spans * SPAN_NS

    def __len__(self) -> int:
        return math.ceil(self.spans / self._spans_a_request)

    def __getitem__(self, index: int) -> bytes:
        return self._requests.body(self._span(number) for number in self._numbers(index))

    def spans_of(self, index: int) -> int:
        return len(self._numbers(index))

    def _numbers(self, index: int) -> Sequence[int]:
        last = self.spans - index * self._spans_a_request
        return range(last - 1, max(last - self._spans_a_request, 0) - 1, -1)

    def _span(self, number: int) -> bytes:
        kind = ROOT if number == 0 else CHAT if number % 2 else TOOL
        parent = (number - 1) // self.FAN_OUT + 1
        return kind.stamp(
            self.trace_id, _span_id(number + 1), _span_id(max(parent, 1)), self._begun_ns + number * SPAN_NS
        )


def _span_id(number: int) -> bytes:
    return number.to_bytes(8, "big")
