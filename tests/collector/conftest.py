"""The fixtures of the collector's tests; what they are made of is in collector_bench.py."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from collector_bench import (
    Answered,
    Bench,
    Capture,
    RememberingJournal,
    captures,
    exchange,
    logs_request,
    traces_request,
)
from prometheus_client import CollectorRegistry

from collector.boundary import PassThrough
from collector.http import OtlpHttpApp
from collector.intake import Intake
from collector.limits import Limits
from collector.metrics import IngestMetrics
from store.record import Signal
from tests.gates import open_gate


@pytest.fixture
def make_bench() -> Callable[..., Bench]:
    def make(limits: Limits | None = None, **arguments: Any) -> Bench:
        journal, registry = RememberingJournal(), CollectorRegistry()
        arguments.setdefault("boundary", PassThrough())
        return Bench(journal, registry, Intake(journal, metrics=IngestMetrics(registry), limits=limits, **arguments))

    return make


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench()


@pytest.fixture
def app(bench: Bench) -> Iterable[OtlpHttpApp]:
    application = OtlpHttpApp(bench.intake, gate=open_gate())
    yield application
    application.close()


@pytest.fixture
def ask(app: OtlpHttpApp) -> Callable[..., Answered]:
    def one(body: bytes = b"", **arguments: Any) -> Answered:
        return asyncio.run(exchange(app, [body], **arguments))

    return one


@pytest.fixture
def traces() -> Callable[..., bytes]:
    return lambda *spans: traces_request(*(spans or ({},))).SerializeToString()


@pytest.fixture
def logs() -> Callable[..., bytes]:
    return lambda *records: logs_request(*records).SerializeToString()


@pytest.fixture(scope="session", name="captures")
def captures_fixture() -> list[Capture]:
    found = captures()
    assert {capture.signal for capture in found} == set(Signal)
    return found
