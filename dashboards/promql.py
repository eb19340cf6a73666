"""Expressions of the dashboard, as text.

All of them use two variables: `$instance` (the servers chosen in Grafana) and `$__rate_interval`, which Grafana derives
from the scrape interval so that a rate always spans enough scrapes.
"""


def selector(metric: str, *matchers: str) -> str:
    """A metric of the chosen instances, with further label matchers."""
    return metric + "{" + ", ".join(('instance=~"$instance"', *matchers)) + "}"


def rate(metric: str, *matchers: str) -> str:
    return f"rate({selector(metric, *matchers)}[$__rate_interval])"


def per_minute(by: str, metric: str, *matchers: str) -> str:
    return f"sum by ({by}) ({rate(metric, *matchers)}) * 60"


def per_second(by: str, metric: str, *matchers: str) -> str:
    return f"sum by ({by}) ({rate(metric, *matchers)})"


def quantile(share: float, histogram: str, by: str = "") -> str:
    """A quantile of a histogram given without its `_bucket`; `by` keeps a label apart."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) ({rate(histogram + '_bucket')}))"


def quantiles(histogram: str, *shares: float) -> list[tuple[str, str]]:
    return [(quantile(share, histogram), f"p{share * 100:.0f}") for share in shares]
