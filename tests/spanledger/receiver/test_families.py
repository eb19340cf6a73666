"""Metrics that cross from one process to the other's page."""

import math

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from spanledger.receiver.families import packed, unpacked


class Told(Collector):
    """A registry's families as they come out at the other end."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> list[Metric]:
        return unpacked(packed(self._registry))

    def describe(self) -> list[Metric]:
        return []


@pytest.mark.parametrize("page", [generate_latest, generate_openmetrics])
def test_a_page_with_what_crossed_is_the_page_of_where_it_was_counted(page):
    counted = CollectorRegistry()
    requests = Counter("requests_total", "How many.", ["signal", "outcome"], registry=counted)
    requests.labels("traces", 'a "quoted"\nlabel').inc(3)
    requests.labels("logs", "stored").inc()
    Histogram("ack_seconds", "How long.", ["signal"], buckets=(0.1, 1), registry=counted).labels("traces").observe(0.5)
    Gauge("in_flight", "Now.", registry=counted).set_function(lambda: 5)
    for name, value in (("unknown", math.nan), ("endless", math.inf)):
        Gauge(name, "Not every number is one.", registry=counted).set(value)
    told = CollectorRegistry()
    told.register(Told(counted))
    assert page(told) == page(counted)


def test_nothing_counted_is_nothing_told():
    assert unpacked(packed(CollectorRegistry())) == []
