"""Reads the part of PromQL that the dashboard and the alerts use, so that they can be checked without Prometheus.

A recursive descent over tokens that knows brackets, selectors, ranges, aggregations, the functions named below and binary
operators; anything else is an error. What it returns is which labels an expression expects of which metric.
"""

import re
from dataclasses import dataclass, field

AGGREGATIONS = {"sum", "min", "max", "avg", "count"}
FUNCTIONS = {
    "absent", "changes", "histogram_quantile", "increase", "label_values", "max_over_time", "min_over_time", "rate",
    "round", "vector",
}  # fmt: skip
RANGE_FUNCTIONS = {"changes", "increase", "max_over_time", "min_over_time", "rate"}
# From loosest to tightest. All of them are read as left-associative, which is so for every one of these.
PRECEDENCE = ({"or"}, {"and", "unless"}, {"==", "!=", ">", "<", ">=", "<="}, {"+", "-"}, {"*", "/", "%"})

TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<duration>\d+(?:ms|[smhdwy]))
      | (?P<number>\d+(?:\.\d+)?)
      | (?P<name>[a-zA-Z_][a-zA-Z0-9_]*)
      | (?P<sign>=~|!~|!=|==|>=|<=|[-+*/%<>=(){}\[\],])
    )""",
    re.VERBOSE,
)


class NotPromql(ValueError):
    """The text is not an expression of the subset that is read here."""


def tokens_of(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    while text[at:].strip():
        match = TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise NotPromql(f"cannot read {text[at:]!r}")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


@dataclass
class Expression:
    """`labels` maps each metric to the labels that its selectors and the groupings around it name."""

    text: str
    labels: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tokens = tokens_of(self.text)
        self._at = 0
        self._binary(0)
        if self._at != len(self._tokens):
            raise NotPromql(f"{self._peek()!r} is left over in {self.text!r}")

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _next(self, kind: str | None = None) -> str:
        if self._at == len(self._tokens) or (kind is not None and self._tokens[self._at][0] != kind):
            raise NotPromql(f"expected a {kind or 'token'}, found {self._peek()!r} in {self.text!r}")
        self._at += 1
        return self._tokens[self._at - 1][1]

    def _expect(self, sign: str) -> None:
        if self._next() != sign:
            raise NotPromql(f"expected {sign!r} before {self._peek()!r} in {self.text!r}")

    def _binary(self, level: int) -> set[str]:
        """Returns the metrics below, as every other reading method does."""
        if level == len(PRECEDENCE):
            return self._primary()
        metrics = self._binary(level + 1)
        while self._peek() in PRECEDENCE[level]:
            self._next()
            metrics |= self._binary(level + 1)
        return metrics

    def _primary(self) -> set[str]:
        if self._peek() == "(":
            return self._bracketed()
        if self._tokens[self._at : self._at + 1] and self._tokens[self._at][0] == "number":
            self._next()
            return set()
        name = self._next("name")
        if name in AGGREGATIONS:
            return self._aggregation()
        if self._peek() == "(":
            return self._call(name)
        return self._selector(name)

    def _bracketed(self) -> set[str]:
        self._expect("(")
        metrics = self._binary(0)
        self._expect(")")
        return metrics

    def _aggregation(self) -> set[str]:
        grouped: set[str] = set()
        if self._peek() == "by":
            self._next()
            self._expect("(")
            grouped.add(self._next("name"))
            while self._peek() == ",":
                self._next()
                grouped.add(self._next("name"))
            self._expect(")")
        metrics = self._bracketed()
        for metric in metrics:
            self.labels[metric] |= grouped
        return metrics

    def _call(self, name: str) -> set[str]:
        if name not in FUNCTIONS:
            raise NotPromql(f"{name} is not a function known here, in {self.text!r}")
        self._expect("(")
        metrics = self._binary(0)
        if name in RANGE_FUNCTIONS:
            self._expect("[")
            self._next("duration")
            self._expect("]")
        while self._peek() == ",":
            self._next()
            metrics |= self._binary(0)
        self._expect(")")
        return metrics

    def _selector(self, metric: str) -> set[str]:
        labels = self.labels.setdefault(metric, set())
        if self._peek() == "{":
            self._next()
            while self._peek() != "}":
                labels.add(self._next("name"))
                if self._next("sign") not in {"=", "=~", "!=", "!~"}:
                    raise NotPromql(f"a label of {metric} is compared with nothing in {self.text!r}")
                self._next("string")
                if self._peek() != "}":
                    self._expect(",")
            self._expect("}")
        return {metric}
