"""How something was judged, in each of the forms that libraries send it."""

import json
from typing import Any

import pytest
from model_bench import NOON_NS, TENANT, TRACE, any_value, key_values, normalise_one
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from store.model.content import ContentSink
from store.model.evaluations import Evaluation
from store.model.normalise_logs import normalise_logs
from store.model.talk import Listener
from store.record import Frame, FrameType, Signal

OI = "openinference.instrumentation.langchain"


def _logged(said: dict[str, Any], event_name: str = "gen_ai.evaluation.result") -> list[Evaluation]:
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add(
        trace_id=bytes.fromhex(TRACE), span_id=bytes(7) + b"\x01", time_unix_nano=NOON_NS, event_name=event_name
    )  # fmt: skip
    record.body.CopyFrom(any_value("judged"))
    record.attributes.extend(key_values(said))
    sink, judged = ContentSink(), []
    frame = Frame(7, FrameType.OTLP, TENANT, Signal.LOGS, NOON_NS, 1, b"", request.SerializeToString())
    normalise_logs([frame], sink, Listener(sink), judged)
    return judged


def test_a_log_record_is_about_the_step_that_it_names() -> None:
    [one] = _logged({
        "gen_ai.evaluation.name": "relevance", "gen_ai.evaluation.score.value": 0.85,
        "gen_ai.evaluation.score.label": "Pass", "gen_ai.evaluation.explanation": "x" * 2000,
        "gen_ai.evaluation.evaluator.source": '{"name": "Judge", "arguments": null}', "gen_ai.evaluation.target": "ask",
        "gen_ai.evaluation.evaluator.version": 2, "gen_ai.response.id": "resp-1",
    })  # fmt: skip
    assert (one.trace_id, one.span_id, one.response_id) == (TRACE, "0" * 15 + "1", "resp-1")
    assert (one.name, one.score, one.label, one.passed) == ("relevance", 0.85, "Pass", True)
    assert (one.evaluator_name, one.evaluator_version, one.target, one.source) == ("Judge", "2", "ask", "otel_event")
    assert (one.explanation, one.sequence, one.time_ns) == ("x" * 2000, 7, NOON_NS)


@pytest.mark.parametrize(
    ("label", "passed"), [("pass", True), ("FAIL", False), ("false", False), ("friendly", None), ("", None)]
)
def test_only_a_label_that_says_so_is_a_verdict(label: str, passed: bool | None) -> None:
    [one] = _logged({"gen_ai.evaluation.name": "n", "gen_ai.evaluation.score.label": label})
    assert one.passed is passed


def test_an_evaluator_that_failed_says_how() -> None:
    [one] = _logged({"gen_ai.evaluation.name": "n", "error.type": "RuntimeError"})
    assert (one.error_type, one.score, one.label, one.passed) == ("RuntimeError", None, None, None)


@pytest.mark.parametrize(
    "said",
    [{}, {"gen_ai.evaluation.name": ""}, {"gen_ai.evaluation.name": ["n"]}, {"gen_ai.evaluation.score.value": 1}],
)
def test_a_record_without_a_name_is_an_event_and_no_more(said: dict[str, Any]) -> None:
    assert _logged(said) == []


def test_another_event_that_carries_the_attributes_is_none() -> None:
    assert _logged({"gen_ai.evaluation.name": "n"}, event_name="mine") == []


def test_a_score_that_is_no_number_is_not_told_as_one() -> None:
    [one] = _logged({"gen_ai.evaluation.name": "n", "gen_ai.evaluation.score.value": "high"})
    assert one.score is None


@pytest.mark.parametrize(("prefix", "word"), [("evaluations", "evaluation"), ("annotations", "annotation")])
def test_numbered_attributes_may_have_gaps(prefix: str, word: str) -> None:
    said: dict[str, Any] = {"openinference.span.kind": "LLM"}
    for number, score in ((0, 0.5), (7, 0.25)):
        said |= {
            f"{prefix}.{number}.{word}.name": f"n{number}", f"{prefix}.{number}.{word}.score": score,
            f"{prefix}.{number}.{word}.label": "fail", f"{prefix}.{number}.{word}.explanation": "why",
            f"{prefix}.{number}.{word}.annotator_kind": "LLM",
        }  # fmt: skip
    found = normalise_one(said, scope=OI)
    assert [(one.name, one.score, one.passed, one.evaluator_kind) for one in found.judged] == [
        ("n0", 0.5, False, "llm"), ("n7", 0.25, False, "llm"),
    ]  # fmt: skip
    assert {one.span_id for one in found.judged} == {found.span.span_id}
    assert len({one.evaluation_id for one in found.judged}) == 2
    assert found.attributes() == said


def test_what_is_no_evaluation_among_numbered_attributes_is_left_alone() -> None:
    said = {"evaluations.0.evaluation.score": 1.0, "evaluations.x.evaluation.name": "n", "evaluations.1": "text"}
    found = normalise_one(said, scope=OI)
    assert found.judged == []
    assert found.attributes() == said


def test_pydantic_evals_says_verdicts_scores_and_labels_of_a_case() -> None:
    source = {"name": "EqualsExpected", "arguments": None}
    found = normalise_one(
        {
            "task_name": "shout", "case_name": "c1",
            "assertions": json.dumps({"equal": {"name": "equal", "value": False, "reason": "differs", "source": source}}),
            "scores": json.dumps({"close": {"name": "close", "value": 0.5, "reason": None, "source": source}}),
            "labels": json.dumps({"tone": {"name": "tone", "value": "rude", "reason": None, "source": source}}),
        },
        scope="pydantic-evals",
    )  # fmt: skip
    assert [(one.name, one.passed, one.score, one.label) for one in found.judged] == [
        ("equal", False, None, "fail"), ("close", None, 0.5, None), ("tone", None, None, "rude"),
    ]  # fmt: skip
    assert {(one.target, one.case_id, one.evaluator_name) for one in found.judged} == {
        ("shout", "c1", "EqualsExpected")
    }
    assert found.judged[0].explanation == "differs"


@pytest.mark.parametrize(
    "said", ["{}", "[]", "text", '{"a": 1}', '{"a": {"value": null}}', '{"a": {"value": []}}', "{cut", 7]
)
def test_attributes_that_only_have_the_name_of_evaluations_are_none(said: Any) -> None:
    found = normalise_one({"scores": said}, scope="logfire")
    assert found.judged == []
    assert found.attributes() == {"scores": said}
