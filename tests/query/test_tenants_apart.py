"""Two tenants that sent the same telemetry, over a real journal and view: nobody sees the other's, whatever they ask.

Both have the same trace and span ids, and each a word of its own in every name and text. Random calls are made from what
either has been told (ids, cursors, positions, names), and no answer may have the other one's word in it.
"""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from access.permissions import Role
from collector.boundary import PassThrough
from collector.intake import Intake
from collector.metrics import IngestMetrics
from query.app import create_app, described
from query.trail import Trail
from store.access_records import AccessRecord
from store.duckdb import run_steps
from store.duckdb.run_steps import HELD_STEPS_MAX
from store.ledger import Ledger
from store.record import Signal
from tests.gates import KeyedGate, bearing

ROOT = Path(__file__).parents[2]
CAPTURE = ROOT / "tests" / "fixtures" / "captures" / "spanledger-demo"
SECONDS = 60
WORDS = {"one": "zebrafinch", "two": "quagmirefox"}
_PLAIN = re.compile("support-agent|get_order|refund_order|fernhill|celadon|scripted-support-1", re.IGNORECASE)


def marked(body: bytes, kind: type[Any], tenant: str) -> bytes:
    """The same request with the tenant's word in its names and texts. Ids stay."""
    request = kind.FromString(body)
    _mark(request, WORDS[tenant])
    return request.SerializeToString()


def _mark(message: Any, word: str) -> None:
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for one in value if field.is_repeated else [value]:
                _mark(one, word)
        elif field.type == field.TYPE_STRING and not field.is_repeated and field.name in ("string_value", "name"):
            setattr(message, field.name, _PLAIN.sub(lambda found: f"{found[0]}-{word}", value))


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, dict[str, str], list[str]]]:
    """The API, the auditors' keys by tenant, and its calls."""
    keyed = KeyedGate()
    ledger = Ledger.open(tmp_path_factory.mktemp("apart"))
    try:
        intake = Intake(ledger.journal, metrics=IngestMetrics(CollectorRegistry()), boundary=PassThrough())
        kinds = {Signal.TRACES: ExportTraceServiceRequest, Signal.LOGS: ExportLogsServiceRequest}
        position = None
        for one in json.loads((CAPTURE / "index.json").read_text()):
            signal = Signal[one["signal"].upper()]
            if signal in kinds:
                for tenant in WORDS:
                    body = marked((CAPTURE / one["file"]).read_bytes(), kinds[signal], tenant)
                    position = intake.accept(signal, body, tenant=tenant).position
        assert position is not None
        for tenant, word in WORDS.items():
            record = AccessRecord(at_ns=1, who=word, action="read", outcome="allowed", door="api", purpose=word)
            position = ledger.record(tenant, [record]).result()
        assert ledger.waiter.wait_for(position, SECONDS)
        app = create_app(
            reader=ledger.reader,
            waiter=ledger.waiter,
            registry=CollectorRegistry(),
            gate=keyed.gate,
            trail=Trail(ledger.record, keyed.gate.refusals, redact=lambda _, text: text),
        )
        calls = [path for path, said in described(app)["paths"].items() if said.get("get", {}).get("x-permission")]
        with TestClient(app) as client:
            yield client, {tenant: keyed.make(Role.AUDITOR, tenant) for tenant in WORDS}, calls
    finally:
        ledger.close()


def get(client: TestClient, key: str, path: str, **parameters: Any) -> Any:
    return client.get(path, params=parameters, headers=bearing(key))


def told(client: TestClient, key: str) -> dict[str, list[str]]:
    """Everything that a tenant has been told and could hand to somebody else, by what it is."""
    runs = get(client, key, "/v1/runs").json()["runs"]
    found: dict[str, set[str]] = {
        "run_id": set(),
        "step_id": set(),
        "content_id": set(),
        "cursor": set(),
        "text": set(),
    }
    for run in runs:
        found["run_id"] |= {run["run_id"], *run["trace_ids"], *(one["segment_id"] for one in run["segments"])}
        found["text"] |= {run["agent_name"] or "", *run["tools"], *run["models"], run["conversation_id"] or ""} - {""}
        steps = get(client, key, f"/v1/runs/{run['run_id']}/steps", limit=5).json()
        found["step_id"] |= {step["step_id"] for step in steps["steps"]}
        for step in steps["steps"]:
            found["content_id"] |= {one for given in step["content"].values() for one in given}
        for path in ("steps", "tool-calls", "messages"):
            page = get(client, key, f"/v1/runs/{run['run_id']}/{path}", limit=1).json()
            found["cursor"] |= {page["next_cursor"]} - {None}
    for path in ("/v1/runs", "/v1/events", "/v1/agents", "/v1/tools", "/v1/prompts"):
        found["cursor"] |= {get(client, key, path, limit=1).json()["next_cursor"]} - {None}
    return {name: sorted(values) for name, values in found.items()}


def test_each_tenant_finds_its_own_words_and_both_have_the_same_traces(asked):
    client, keys, _ = asked
    traces = {}
    for tenant, word in WORDS.items():
        answer = get(client, keys[tenant], "/v1/runs")
        assert word in answer.text
        traces[tenant] = [run["trace_ids"] for run in answer.json()["runs"]]
    assert traces["one"] == traces["two"] != []


def test_what_one_was_told_is_of_no_use_to_the_other(asked):
    client, keys, _ = asked
    for tenant, other in (("one", "two"), ("two", "one")):
        theirs = told(client, keys[other])
        mine = told(client, keys[tenant])
        for content_id in set(theirs["content_id"]) - set(mine["content_id"]):
            assert get(client, keys[tenant], f"/v1/contents/{content_id}").status_code == 404
        assert set(theirs["content_id"]) - set(mine["content_id"]), "contents differ, so their ids do"
        for step_id in theirs["step_id"]:
            assert WORDS[other] not in get(client, keys[tenant], f"/v1/steps/{step_id}").text


@pytest.mark.parametrize("held", [HELD_STEPS_MAX, 0], ids=["runs held whole", "runs read in pieces"])
def test_no_random_call_shows_one_tenant_anything_of_the_other(asked, held, monkeypatch):
    monkeypatch.setattr(run_steps, "HELD_STEPS_MAX", held)
    for name in ("BATCH_STEPS_MIN", "BATCH_STEPS_MAX"):
        monkeypatch.setattr(run_steps, name, 2)
    client, keys, calls = asked
    known = {tenant: told(client, keys[tenant]) for tenant in WORDS}
    everything = {name: sorted({*known["one"][name], *known["two"][name]}) for name in known["one"]}
    parameters = {
        **dict.fromkeys(("agent", "conversation", "tool", "model", "service", "user", "q"), everything["text"]),
        **dict.fromkeys(("trace_id", "run"), everything["run_id"]),
        "cursor": everything["cursor"],
        "limit": ["1", "2", "1000"],
        "content": ["inline", "reference"],
        **{name: ["0", "3", "999"] for name in ("step", "from_step", "until_step")},
        "speed": ["100000"],
        "as_of": [str(time.time_ns())],
    }
    one_parameter = st.sampled_from(sorted(parameters)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(parameters[name]))
    )
    seen: set[int] = set()

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(
        tenant=st.sampled_from(sorted(WORDS)),
        call=st.sampled_from(calls),
        ids=st.fixed_dictionaries(
            {
                name: st.sampled_from(everything[name.removeprefix("other_")])
                for name in ("run_id", "other_run_id", "step_id", "content_id")
            }
        ),
        asking=st.lists(one_parameter, max_size=3).map(dict),
    )
    def never(tenant: str, call: str, ids: dict[str, str], asking: dict[str, str]) -> None:
        if call == "/metrics":
            return
        path = call.format(**ids)
        if path == "/v1/live":
            asking = asking | {"after": "start", "follow": "false"}
        answer = get(client, keys[tenant], path, **asking)
        (other,) = set(WORDS) - {tenant}
        seen.add(answer.status_code)
        if answer.status_code == 200:
            assert WORDS[other] not in answer.text, f"{tenant} sees {other} through {path} {asking}"
        else:
            assert answer.status_code in (404, 422), answer.text

    never()
    assert 200 in seen
