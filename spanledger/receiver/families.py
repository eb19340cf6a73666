"""Metrics on their way from one process to the page of another: as what they are, not as the text of a page.

Text would have to be parsed by a process that has better things to do, and says less than was counted (which of its
families are the creation times of which counters).
"""

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

_Sample = tuple[str, dict[str, str], float]


class _Family(msgspec.Struct, array_like=True):
    name: str
    documentation: str
    type: str
    unit: str
    samples: list[_Sample]


_Families = list[_Family]


def packed(registry: CollectorRegistry) -> bytes:
    """Everything that `registry` counts, now."""
    return msgspec.msgpack.encode([_family(metric) for metric in registry.collect()])


def unpacked(document: bytes) -> list[Metric]:
    """What was packed."""
    return [_metric(family) for family in msgspec.msgpack.decode(document, type=_Families)]


def _family(metric: Metric) -> _Family:
    samples: list[_Sample] = [(one.name, dict(one.labels), float(one.value)) for one in metric.samples]
    return _Family(metric.name, metric.documentation, metric.type, metric.unit, samples)


def _metric(family: _Family) -> Metric:
    metric = Metric(family.name, family.documentation, family.type, family.unit)
    for name, labels, value in family.samples:
        metric.add_sample(name, labels, value)
    return metric
