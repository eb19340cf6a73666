"""A request that is full of what looks like a find costs a bounded time, and hides nothing."""

import time
from random import Random

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.planted import LOOK_ALIKES, MAKERS, look_alike, planted
from collector.redaction import expressions, finding
from collector.redaction.boundary import RedactingBoundary
from collector.redaction.expressions import FLOOD, Prefilter
from collector.redaction.policy import built_in_policy
from store.otlp.decode import decode
from store.otlp.redaction import MARK, SENT_MARK
from store.record import Signal

POLICY = built_in_policy()
BOUNDARY = RedactingBoundary(lambda: POLICY)
SECONDS_MAX = 5.0  # Of processor time, for what takes a quarter of a second where nobody else is.
FULL = 4 * 1024 * 1024
FLOODS = [
    "a@",
    "a@b.c ",
    "7",
    "eyJaaaaaaaaaaa.",
    "x://a:b@",
    "anna@example.org ",
    "basic aaaaaaaa1 ",
    "-----BEGIN PRIVATE KEY-----",
    '"password":"',
    '"password":"a\\\\',
    "\\u0041",
    "\\u005cu005cu0040",
    "\\/",
    "\\/a@b.c",
]


def _request(*texts: str) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for text in texts:
        span = spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="n")
        span.attributes.add(key="k").value.string_value = text
    return request


def _through(request: ExportTraceServiceRequest) -> tuple[bytes, dict[str, int]]:
    passed = BOUNDARY.apply("acme", decode(Signal.TRACES, request.SerializeToString()))
    assert passed.decoded.body == passed.decoded.request.SerializeToString()
    return passed.decoded.body, passed.redactions


@pytest.mark.parametrize("rule", MAKERS)
def test_a_value_of_every_rule_is_gone_from_a_flooded_request(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expressions, "MATCHES_MAX", 0)
    rng = Random(rule)
    for _ in range(10):
        one = planted(rng, rule)
        body, counts = _through(_request("before", one.text, "behind"))
        assert one.secret.encode() not in body
        assert counts
        assert b"before" in body
        assert b"behind" in body


@pytest.mark.parametrize("kind", LOOK_ALIKES)
def test_what_only_looks_like_it_stays_in_a_flooded_request(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(kind)
    request = _request(*[look_alike(rng, kind).text for _ in range(50)])
    at_leisure = _through(request)
    monkeypatch.setattr(expressions, "MATCHES_MAX", 0)
    assert _through(request) == at_leisure


@pytest.mark.parametrize("text", FLOODS)
def test_a_body_of_nothing_but_candidates_takes_a_bounded_time_and_hides_nothing(text: str) -> None:
    decoded = decode(
        Signal.TRACES, _request(text * (FULL // len(text)), "write to anna@example.org").SerializeToString()
    )
    began = time.thread_time()
    passed = BOUNDARY.apply("acme", decoded)
    assert time.thread_time() - began < SECONDS_MAX
    assert b"write to anna" not in passed.decoded.body


def test_a_senders_own_mark_is_none_in_a_flooded_request_either(monkeypatch: pytest.MonkeyPatch) -> None:
    request = _request("nothing", "1" * 40)
    request.resource_spans[0].scope_spans[0].spans[0].attributes[0].key = MARK
    monkeypatch.setattr(expressions, "MATCHES_MAX", 0)
    body, _ = _through(request)
    kept = ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans[0].attributes
    assert [pair.key for pair in kept] == [SENT_MARK]


def test_a_text_with_more_values_of_a_rule_than_are_told_apart_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "FOUND_MAX", 3)
    several = "anna@example.org, "
    assert _through(_request(several * 3))[1] == {"email": 3}
    body, counts = _through(_request("b" + several * 4 + "end"))
    assert counts == {"email": 1}
    assert b"end" not in body


def test_a_text_with_more_refused_matches_than_are_asked_for_is_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "FAILED_MAX", 3)
    refused = "call 4111 1111 1111 1112, "
    assert _through(_request(refused * 3))[1] == {}
    body, counts = _through(_request(refused * 4 + "end"))
    assert counts == {"card": 1}
    assert b"end" not in body


def test_more_matches_than_are_told_are_a_flood_over_all_of_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    prefilter = Prefilter([b"aa", b"b", b"c"])
    data = b"ab" + b"a" * 5000
    assert {pattern for _, _, pattern in prefilter.candidates(data)} == {0, 1}
    monkeypatch.setattr(expressions, "MATCHES_MAX", 100)
    told = prefilter.candidates(data)
    assert {pattern for _, _, pattern in told} == {FLOOD}
    assert [at for first, last, _ in told for at in range(first, last + 1)] == list(range(len(data)))
    assert prefilter.patterns_in(data) == [0, 1]
