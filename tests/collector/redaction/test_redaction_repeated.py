"""What is sent again is judged as it was, and what stands beside a redacted record is recorded as it came."""

from random import Random
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.redaction import verdicts
from collector.redaction.boundary import RedactingBoundary
from collector.redaction.finding import Finder
from collector.redaction.policy import built_in_policy
from collector.redaction.rules import built_in
from collector.redaction.splicing import spliced
from collector.redaction.verdicts import Verdicts
from store.otlp.decode import decode
from store.record import Signal

POLICY = built_in_policy()
RULES = POLICY.others.general.rules
MAIL = b"write to anna@example.org today"


def finder() -> Finder:
    """One that remembers nothing yet."""
    return Finder(list(RULES.values()))


def found(by: Finder, text: bytes) -> list[tuple[str, int, bytes]]:
    return [(one.rule.name, one.start, one.value) for one in by.found_in(text, by.candidates(text), RULES)]


def test_a_text_that_comes_again_is_judged_as_before() -> None:
    by = finder()
    for text in (MAIL, b"_DllMain@12.example", b"card 4111 1111 1111 1111."):
        first = found(by, text)
        assert found(by, text) == first == found(finder(), text)
    assert found(by, MAIL) == [("email", 9, b"anna@example.org")]


def test_a_piece_at_the_edge_of_its_text_is_another_than_one_in_the_middle() -> None:
    by = finder()
    reach = RULES["email"].reach_bytes
    inner = b" " * 20 + b"anna@example.org" + b" " * (reach - 14)
    around = b"x " * reach
    assert found(by, inner)
    assert found(by, around + inner) == found(finder(), around + inner)
    assert found(by, inner + around) == found(finder(), inner + around)


def test_what_is_remembered_holds_no_text_and_not_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "VERDICTS_KEPT", 10)
    by = finder()
    for number in range(100):
        assert found(by, b"write to anna%d@example.org" % number)
    held = by._verdicts  # pyright: ignore[reportPrivateUsage] - what it may not hold is in there
    assert len(held._young) + len(held._old) <= 20  # pyright: ignore[reportPrivateUsage]
    assert b"anna" not in repr([held._young, held._old]).encode()  # pyright: ignore[reportPrivateUsage]


def test_a_verdict_is_kept_while_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "VERDICTS_KEPT", 4)
    kept, rule = Verdicts(), built_in().rules["email"]
    asked = kept.key(rule, b"asked", (False, False))
    kept.remember(asked, ((1, 2),))
    for number in range(50):
        kept.remember(kept.key(rule, b"%d" % number, (False, False)), None)
        assert kept.known(asked) == (True, ((1, 2),))
    assert kept.known(kept.key(rule, b"0", (False, False))) == (False, None)
    assert kept.known(kept.key(rule, b"asked", (True, False))) == (False, None)


def _request(rng: Random) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    for _ in range(rng.randrange(1, 4)):
        outer = request.resource_spans.add(schema_url=rng.choice(["", "https://example.org/schema"]))
        if rng.random() < 0.7:
            outer.resource.attributes.add(key="service.name").value.string_value = "shop"
        for _ in range(rng.randrange(1, 4)):
            inner = outer.scope_spans.add()
            if rng.random() < 0.5:
                inner.scope.name = "tracer"
            for _ in range(rng.randrange(6)):
                inner.spans.add(name="n" * rng.randrange(300), trace_id=b"t" * 16, span_id=b"s" * 8, kind=2)
    return request


def _paths(request: Any) -> list[tuple[tuple[str, int], ...]]:
    paths: list[tuple[tuple[str, int], ...]] = []
    for at, outer in enumerate(request.resource_spans):
        here = ("resource_spans", at)
        paths.append((here,))
        paths += [(here, ("resource", -1))] if outer.HasField("resource") else []
        for nth, inner in enumerate(outer.scope_spans):
            paths += [(here, ("scope_spans", nth), ("spans", one)) for one in range(len(inner.spans))]
            paths.append((here, ("scope_spans", nth)))
    return paths


@pytest.mark.parametrize("seed", range(40))
def test_a_request_that_was_changed_here_and_there_is_what_the_runtime_would_write(seed: int) -> None:
    rng = Random(seed)
    request = _request(rng)
    body = request.SerializeToString()
    changed = [path for path in _paths(request) if rng.random() < 0.3]
    for path in changed:
        message: Any = request
        for name, index in path:
            message = getattr(message, name) if index < 0 else getattr(message, name)[index]
        if path[-1][0] == "spans":
            message.name = "m" * rng.randrange(400)
            message.attributes.add(key="mark").value.int_value = 1
        elif path[-1][0] == "scope_spans":
            message.scope.attributes.add(key="mark").value.int_value = 1
        elif path[-1][0] == "resource":
            message.attributes.add(key="mark").value.int_value = 1
        else:
            message.schema_url = ""
            message.resource.attributes.add(key="mark").value.int_value = 1
    assert spliced(body, request, changed) == request.SerializeToString()


def test_a_secret_inside_of_a_value_that_its_key_gives_away_goes_with_it() -> None:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    inside = span.attributes.add(key="authorization").value.kvlist_value.values
    inside.add(key="k").value.string_value = MAIL.decode()
    passed = RedactingBoundary(lambda: POLICY).apply("acme", decode(Signal.TRACES, request.SerializeToString()))
    assert passed.redactions == {"email": 1, "credential_attribute": 1}
    assert b"anna" not in passed.decoded.body
    kept = passed.decoded.request.resource_spans[0].scope_spans[0].spans[0].attributes
    assert [pair.value.string_value for pair in kept if pair.key == "authorization"] == [
        "[redacted:credential_attribute]"
    ]
