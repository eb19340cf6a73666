"""A policy is read whole or refused with the line that is wrong, and holds for whom it names."""

from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from structlog.testing import capture_logs

from collector.errors import RedactionUnavailable
from collector.redaction import source
from collector.redaction.boundary import RedactingBoundary
from collector.redaction.errors import PolicyUnusable
from collector.redaction.policy_file import OWN_RULES_MAX, TENANTS_MAX, read_policy
from collector.redaction.pseudonyms import Pseudonyms, read_key
from collector.redaction.source import PolicyFile
from collector.redaction.yaml_reading import BYTES_MAX
from store.otlp.decode import decode
from store.otlp.redaction import MARK
from store.record import Signal

KEY = Pseudonyms(b"k" * 32)


def boundary(folder: Path, text: str) -> RedactingBoundary:
    path = folder / "policy.yaml"
    path.write_text(text)
    policy = read_policy(path, has_key=True)
    return RedactingBoundary(lambda: policy, KEY)


def span_after(
    policy: RedactingBoundary,
    attributes: dict[str, str],
    *,
    tenant: str = "default",
    service: str = "shop",
    name: str = "n",
) -> Any:
    request = ExportTraceServiceRequest()
    outer = request.resource_spans.add()
    outer.resource.attributes.add(key="service.name").value.string_value = service
    span = outer.scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name=name)
    for key, value in attributes.items():
        span.attributes.add(key=key).value.string_value = value
    passed = policy.apply(tenant, decode(Signal.TRACES, request.SerializeToString()))
    assert decode(Signal.TRACES, passed.decoded.body).request == passed.decoded.request
    return passed.decoded.request.resource_spans[0].scope_spans[0].spans[0]


def said(span: Any) -> dict[str, str]:
    return {pair.key: pair.value.string_value for pair in span.attributes if pair.key != MARK}


REFUSED = {
    "rules: {emial: mask}": r"line 1: there is no rule `emial`; rules are anthropic_key",
    "\nrules:\n  email: hide": "line 3: `email` cannot be 'hide'; allowed are mask, pseudonym, drop, off",
    "rules:\n  email: pseudonym": "line 2: pseudonyms need a key; set pseudonym_key_file",
    'own_rules:\n- name: a\n  pattern: "(a)\\\\1"': r"line 3: the pattern of `a`: the engine refuses it: invalid escape",
    'own_rules:\n- name: a\n  pattern: "(?=a)b"': r"line 3: the pattern of `a`: .*without backreferences and lookaround",
    'own_rules:\n- name: a\n  pattern: "a*"': "line 3: the pattern of `a`: it matches the empty text",
    "own_rules:\n- name: email\n  keys: [a]": "line 2: there is a rule `email` already; choose another name",
    "own_rules:\n- name: A\n  keys: [a]": "line 2: 'A' cannot be a name; use a-z",
    "own_rules:\n- keys: [a]": "line 2: this rule has no name",
    "own_rules:\n- name: a": "line 2: rule `a` needs a pattern or keys",
    "own_rules:\n- {name: a, keys: [a]}\n- {name: a, keys: [b]}": "line 3: there is a rule `a` already",
    "tenant: {}": "line 1: `tenant` is not known here; known are agents, allow, drop, own_rules, rules, tenants",
    "rules: [": "line 1: not YAML",
    "rules: {email: off}\nrules: {email: off}": "line 2: `rules` stands here twice",
    "allow: &a\n": "line 1: anchors and aliases are not allowed",
    "": "is empty; leave the setting away",
    "allow:\n- {}": "line 2: an entry needs a value or a pattern",
    "allow:\n- {value: a, rules: x}": "line 2: there is no rule `x`",
    "allow:\n- pattern: '('": "line 2: the engine refuses it",
    "drop: {content: maybe}": "line 1: `content` is neither true nor false",
    "agents:\n- rules: {email: off}": "line 2: this entry names no agent",
    "rules: email": "line 1: `rules` is not a mapping",
    "own_rules:\n- name:\n  keys: [a]": "line 2: `name` has no text",
    "tenants: {" + ", ".join(f"t{n}: {{}}" for n in range(TENANTS_MAX + 1)) + "}": "more than 100 tenants",
    "own_rules:\n"
    + "".join(f"- {{name: r{n}, keys: [k]}}\n" for n in range(OWN_RULES_MAX + 1)): "line 202: this is one",
    "#" * (BYTES_MAX + 1): "is it the right file",
    "a\0": "not YAML",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:30])
def test_a_policy_that_is_wrong_is_refused_with_the_line_and_what_to_do(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(PolicyUnusable, match=REFUSED[text]):
        read_policy(path, has_key=False)


def test_a_policy_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyUnusable, match="No such file"):
        read_policy(tmp_path / "none.yaml", has_key=False)


def test_actions_are_by_rule(tmp_path: Path) -> None:
    policy = boundary(tmp_path, "rules: {email: pseudonym, phone: off, card: drop, ip_v4: mask}")
    found = said(
        span_after(
            policy,
            {
                "a": "x anna@a.org",
                "b": "anna@a.org",
                "c": "bob@a.org",
                "d": "+49 176 12345678",
                "e": "4111111111111111 ok",
                "f": "at 10.1.2.3",
            },
        )
    )
    token = KEY.token("default", b"anna@a.org")
    assert found["a"] == f"x [email:{token}]"
    assert found["b"] == f"[email:{token}]"
    assert found["c"] != found["b"]
    assert found["d"] == "+49 176 12345678"
    assert "e" not in found
    assert found["f"] == "at [redacted:ip_v4]"


def test_a_pseudonym_is_the_tenants_own() -> None:
    assert KEY.token("a", b"x") == Pseudonyms(b"k" * 32).token("a", b"x")
    assert (
        len({KEY.token("a", b"x"), KEY.token("b", b"x"), KEY.token("a", b"y"), Pseudonyms(b"l" * 32).token("a", b"x")})
        == 4
    )


def test_without_a_key_a_request_that_needs_one_is_refused_for_now(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("rules: {email: pseudonym}")
    policy = read_policy(path, has_key=True)
    with pytest.raises(RedactionUnavailable, match="set pseudonym_key_file"):
        span_after(RedactingBoundary(lambda: policy), {"a": "anna@a.org"})


def test_a_key_file_is_long_enough_and_outside_the_data_folder(tmp_path: Path) -> None:
    data, key = tmp_path / "data", tmp_path / "key"
    data.mkdir()
    key.write_bytes(b"x" * 40 + b"\n")
    assert read_key(key, data).token("a", b"x") == Pseudonyms(b"x" * 40).token("a", b"x")
    key.write_bytes(b"short")
    (data / "key").write_bytes(b"x" * 40)
    for path, cause in (
        (key, "has 5 bytes"),
        (data / "key", "lies in the data folder"),
        (tmp_path / "no", "No such file"),
    ):
        with pytest.raises(PolicyUnusable, match=cause):
            read_key(path, data)


def test_own_rules_are_by_pattern_and_by_key(tmp_path: Path) -> None:
    policy = boundary(
        tmp_path,
        """
own_rules:
  - name: employee
    pattern: '\\bEMP-(?P<secret>[0-9]{6})\\b'
  - name: salary
    keys: [app.salary]
    action: drop
""",
    )
    found = said(span_after(policy, {"a": "by EMP-123456, xEMP-123456", "app.salary": "10", "b": "EMP-1234567"}))
    assert found == {"a": "by EMP-[redacted:employee], xEMP-123456", "b": "EMP-1234567"}


def test_what_is_allowed_stays(tmp_path: Path) -> None:
    policy = boundary(
        tmp_path,
        """
allow:
  - value: bob@corp.com
  - {pattern: '.*@example\\.com', rules: email}
  - {value: '+49 176 12345678', rules: [email]}
""",
    )
    text = "bob@corp.com bobby@corp.com anna@example.com anna@example.com.evil.org +49 176 12345678"
    assert said(span_after(policy, {"a": text})) == {
        "a": "bob@corp.com [redacted:email] anna@example.com [redacted:email] [redacted:phone]"
    }


LEVELS = """
rules: {email: off}
own_rules: [{name: shared, pattern: SHARED}]
agents:
  - match: ["support*"]
    rules: {email: mask}
tenants:
  acme:
    own_rules: [{name: acme_only, pattern: ACME}]
    agents:
      - match: [shop]
        rules: {shared: off}
"""


@pytest.mark.parametrize(
    ("tenant", "service", "agent", "gone"),
    [
        ("x", "shop", "", {"shared"}),
        ("x", "support-1", "", {"shared", "email"}),
        ("x", "shop", "support", {"shared", "email"}),
        ("acme", "other", "", {"shared", "acme_only"}),
        ("acme", "shop", "", {"acme_only"}),
        ("acme", "support", "", {"shared", "acme_only", "email"}),
    ],
)
def test_a_level_takes_over_what_the_one_around_it_says(
    tmp_path: Path, tenant: str, service: str, agent: str, gone: set[str]
) -> None:
    attributes = {"a": "SHARED", "b": "ACME", "c": "anna@a.org", "gen_ai.agent.name": agent}
    found = said(span_after(boundary(tmp_path, LEVELS), attributes, tenant=tenant, service=service))
    assert {value[10:-1] for value in found.values() if value.startswith("[redacted:")} == gone


# Classes


HISTORY = (
    '[{"role":"user","parts":[{"type":"text","content":"hi"}]},'
    '{"role":"assistant","parts":[{"type":"reasoning","content":"hmm"},{"type":"tool_call","id":"1","name":"read_mail","arguments":{}},'
    '{"type":"tool_call","id":"2","name":"add","arguments":{}}]},'
    '{"role":"tool","parts":[{"type":"tool_call_response","id":"1","response":"Dear Anna"}]},'
    '{"role":"tool","parts":[{"type":"tool_call_response","id":"2","response":"3"}]}]'
)


def test_reasoning_is_dropped_and_the_rest_of_the_messages_stays(tmp_path: Path) -> None:
    policy = boundary(tmp_path, "drop: {reasoning: true}")
    span = span_after(
        policy, {"gen_ai.input.messages": HISTORY, "llm.output_messages.0.message.reasoning_content": "hmm"}
    )
    assert said(span) == {"gen_ai.input.messages": HISTORY.replace("hmm", "[redacted:reasoning]")}


def test_the_results_of_a_tool_are_dropped_from_its_step_and_from_later_messages(tmp_path: Path) -> None:
    policy = boundary(tmp_path, "drop: {tool_results: ['read_*']}")
    attributes = {
        "gen_ai.input.messages": HISTORY,
        "gen_ai.tool.call.result": "Dear Anna",
        "gen_ai.tool.call.arguments": "{}",
    }
    kept = HISTORY.replace("Dear Anna", "[redacted:tool_result]")
    assert said(span_after(policy, attributes)) == attributes | {"gen_ai.input.messages": kept}
    found = said(span_after(policy, attributes, name="execute_tool read_mail"))
    assert found == {"gen_ai.input.messages": kept, "gen_ai.tool.call.arguments": "{}"}
    assert said(span_after(policy, attributes | {"gen_ai.tool.name": "read_x"}))["gen_ai.input.messages"] == kept


def test_content_is_dropped_whole_and_what_is_none_stays(tmp_path: Path) -> None:
    policy = boundary(tmp_path, "tenants: {acme: {drop: {content: true}}}")
    attributes = {
        "gen_ai.input.messages": HISTORY,
        "gen_ai.tool.call.result": "x",
        "llm.input_messages.0.message.content": "x",
        "gen_ai.request.model": "m",
    }
    span = span_after(policy, attributes, tenant="acme")
    assert said(span) == {"gen_ai.request.model": "m"}
    assert {
        entry.kvlist_value.values[1].value.string_value for entry in span.attributes[0].value.array_value.values
    } == {"content"}
    assert said(span_after(policy, attributes)) == attributes


def test_content_in_log_records_is_dropped(tmp_path: Path) -> None:
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    records.add(event_name="gen_ai.user.message").body.kvlist_value.values.add(key="content").value.string_value = "hi"
    records.add(event_name="other").body.string_value = "kept"
    policy = boundary(tmp_path, "drop: {content: true}")
    decoded = policy.apply("default", decode(Signal.LOGS, request.SerializeToString())).decoded
    first, second = decoded.request.resource_logs[0].scope_logs[0].log_records
    assert not first.HasField("body")
    assert first.attributes[0].key == MARK
    assert second.body.string_value == "kept"


def test_reasoning_in_maps_of_otlp_is_dropped(tmp_path: Path) -> None:
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add(event_name="gen_ai.choice")
    message = record.body.kvlist_value.values.add(key="message").value.kvlist_value.values
    message.add(key="content").value.string_value = "answer"
    message.add(key="reasoning_content").value.string_value = "hmm"
    policy = boundary(tmp_path, "drop: {reasoning: true}")
    body = policy.apply("default", decode(Signal.LOGS, request.SerializeToString())).decoded.body
    assert b"hmm" not in body
    assert b"answer" in body


# Read again


def test_a_policy_that_changes_is_read_again_and_a_broken_one_keeps_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "LOOK_SECONDS", 0.0)
    path = tmp_path / "policy.yaml"
    path.write_text("rules: {email: off}")
    heard: list[tuple[str, bool]] = []
    file = PolicyFile(path, has_key=False, heard=lambda version, refused: heard.append((version, not refused)))
    first = file.current()
    policy = RedactingBoundary(file.current)
    assert said(span_after(policy, {"a": "anna@a.org"})) == {"a": "anna@a.org"}
    with capture_logs() as lines:
        for text in ("rules: {email: mask}", "rules: {emial: mask}"):
            path.with_suffix(".new").write_text(text)
            path.with_suffix(".new").replace(path)
            assert said(span_after(policy, {"a": "anna@a.org"})) == {"a": "[redacted:email]"}
        path.unlink()
        assert said(span_after(policy, {"a": "anna@a.org"})) == {"a": "[redacted:email]"}
    assert [line["event"] for line in lines] == ["redaction_policy_loaded", *["redaction_policy_refused"] * 2]
    second = file.current()
    assert heard == [(second.version, True), (second.version, False), (second.version, False)]
    assert lines[0]["before"] == first.version
    assert "line 1: there is no rule `emial`" in lines[1]["cause"]
    assert lines[1]["in_force"] == lines[0]["version"] == second.version
