"""`python -m bench.exporting`: a process of the standard OTLP exporters that notes what they call a success.

The exporters are OpenTelemetry's own, with their defaults: they compress nothing, wait 10 s, and try again after what the
server says. Spans are made from shared attributes, so that this process costs little more than the exporters do.
"""

import argparse
import json
import logging
import random
import sys
import time
from itertools import count
from pathlib import Path
from threading import Lock, Thread
from typing import Final

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from bench.acks import AckJournal

_ATTRIBUTES: Final = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.usage.input_tokens": 1200,
    "gen_ai.usage.output_tokens": 80,
    "gen_ai.conversation.id": "conversation",
    "server.address": "api.example.com",
}
_RESOURCE: Final = Resource({"service.name": "overload"})
_SCOPE: Final = InstrumentationScope("bench.exporting")


class _Schedule:
    """When the next export is due, for all threads together; no rate is at once."""

    def __init__(self, rate: float | None, seconds: float) -> None:
        self._rate = rate
        self._next = count()
        self._started = time.perf_counter()
        self._seconds = seconds

    def wait(self) -> bool:
        """Wait for the next place. False when the time is over."""
        if self._rate is not None:
            due = self._started + next(self._next) / self._rate
            if due > self._started + self._seconds:
                return False
            time.sleep(max(due - time.perf_counter(), 0))
        return time.perf_counter() < self._started + self._seconds


def main() -> int:
    """The command line. Prints one line of JSON at the end."""
    asked = _parser().parse_args()
    # Every retry is a warning of the exporters', thousands of them.
    logging.disable(logging.CRITICAL)
    schedule = _Schedule(asked.rate, asked.seconds)
    done = {"succeeded": 0, "failed": 0}
    lock = Lock()
    with AckJournal(asked.acks) as journal:

        def work() -> None:
            exporter = _exporter(asked.transport, asked.endpoint)
            try:
                while schedule.wait():
                    trace_id, span_ids, spans = _spans(asked.spans)
                    request = journal.sent(trace_id, span_ids)
                    succeeded = exporter.export(spans) is SpanExportResult.SUCCESS
                    if succeeded:
                        journal.acked(request)
                    with lock:
                        done["succeeded" if succeeded else "failed"] += 1
            finally:
                exporter.shutdown()

        threads = [Thread(target=work) for _ in range(asked.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(json.dumps(done | {"cpu_seconds": time.process_time()}))
    return 0


def _exporter(transport: str, endpoint: str) -> SpanExporter:
    if transport == "grpc":
        return GrpcExporter(endpoint=endpoint, insecure=True)
    return HttpExporter(endpoint=f"{endpoint}/v1/traces")


def _spans(number: int) -> tuple[str, list[str], list[ReadableSpan]]:
    """One trace, a root and its children: its id, theirs (hexadecimal), and the spans."""
    trace_id, first, now_ns = random.getrandbits(128) or 1, random.getrandbits(62), time.time_ns()
    contexts = [SpanContext(trace_id, first + place + 1, False, TraceFlags(1)) for place in range(number)]
    spans = [
        ReadableSpan(
            name="invoke_agent" if place == 0 else "chat gpt-5-mini",
            context=context,
            parent=None if place == 0 else contexts[0],
            resource=_RESOURCE,
            attributes=_ATTRIBUTES,
            kind=SpanKind.INTERNAL,
            start_time=now_ns + place * 1000,
            end_time=now_ns + place * 1000 + 500,
            instrumentation_scope=_SCOPE,
        )
        for place, context in enumerate(contexts)
    ]
    return f"{trace_id:032x}", [f"{context.span_id:016x}" for context in contexts], spans


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.exporting")
    parser.add_argument("--transport", choices=("http", "grpc"), required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--rate", type=float, help="exports a second; as fast as they succeed when left out")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--spans", type=int, required=True, help="spans an export")
    parser.add_argument("--acks", type=Path, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
