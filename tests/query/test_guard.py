"""Who may ask what: every call of the API's description, by every role, and what hostile clients try.

The matrix is made from the OpenAPI document: a call that is added is in it, and what it shows is in it, too.
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from access.keys import new_key
from access.permissions import ROLE_PERMISSIONS, Permission, Principal, Role
from query.app import create_app, described
from query.guard import UndeclaredRoute, check_declared, needs
from query.trail import Kind, Note
from query.view import TenantReader
from store.model.rows import ReplayEvent
from store.record import DEFAULT_TENANT
from tests.gates import KeyedGate, bearing, open_gate
from tests.query.conftest import FakeReader
from tests.query.rows_with_secrets import CONTENT_WORD, RAW_WORD, REASONING_WORD, TEXT_PART, reader_with_secrets
from tests.trails import kept_trail

ROUTES = Path(__file__).parents[2] / "query" / "routes"
unused: Any = None
DESCRIBED = described(
    create_app(reader=unused, waiter=unused, registry=CollectorRegistry(), gate=open_gate(), trail=kept_trail())
)
CALLS = {
    f"{method.upper()} {path}": said for path, methods in DESCRIBED["paths"].items() for method, said in methods.items()
}
STATEMENT = "SELECT c.arguments, m.text, e.body FROM tool_calls AS c, contents AS m, events AS e"
PARAMETERS = {
    "GET /v1/runs/{run_id}/steps": {"content": "inline"},
    "GET /v1/runs/{run_id}/state": {"step": "0"},
    "GET /v1/live": {"after": "start", "follow": "false"},
}
DIFF = "GET /v1/runs/{run_id}/diff/{other_run_id}"  # The run it knows beside itself: nothing in it differs.
WORDS = {
    Permission.READ_CONTENT: CONTENT_WORD,
    Permission.READ_REASONING: REASONING_WORD,
    Permission.READ_RAW: RAW_WORD,
}


def path_of(call: str) -> str:
    path = call.partition(" ")[2]
    for name in ("run_id", "other_run_id", "step_id", "content_id"):
        path = path.replace("{" + name + "}", "known")
    assert "{" not in path
    return path


def asked(client: TestClient, call: str, headers: dict[str, str] | None = None) -> Any:
    """The answer to a call of the description."""
    method, path = call.partition(" ")[0], path_of(call)
    return client.request(method, path, params=PARAMETERS.get(call), headers=headers, content=body_of(call))


def body_of(call: str) -> bytes:
    """The body of a call of the description."""
    return json.dumps({"sql": STATEMENT}).encode() if call.startswith("POST ") else b""


@pytest.fixture
def keyed() -> KeyedGate:
    return KeyedGate()


@pytest.fixture
def client(keyed, waiter):
    app = create_app(
        reader=reader_with_secrets(), waiter=waiter, registry=CollectorRegistry(), gate=keyed.gate, trail=kept_trail()
    )
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_every_call_declares_what_it_takes_and_the_description_says_so():
    assert len(CALLS) > 15
    assert {said["x-permission"] for said in CALLS.values()} >= {
        None,
        "read_runs",
        "read_content",
        "read_metrics",
        "scrape",
    }
    open_to_all = {call for call, said in CALLS.items() if said["x-permission"] is None}
    assert open_to_all == {"GET /healthz", "GET /readyz"}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("call", CALLS)
def test_a_role_gets_what_it_may_and_nothing_else(client, keyed, call, role):
    answer = asked(client, call, bearing(keyed.make(role)))
    permission = CALLS[call]["x-permission"]
    held = ROLE_PERMISSIONS[role]
    if permission is not None and permission not in held:
        assert (answer.status_code, answer.json()["missing"]) == (403, permission)
        return
    assert answer.status_code == 200, answer.text
    for needed, word in WORDS.items():
        if needed not in held:
            assert word not in answer.text, f"{role} reads through {call} what takes {needed}"


@pytest.mark.parametrize("call", CALLS)
def test_an_auditor_is_shown_what_others_are_not(client, keyed, call):
    """The words of the matrix above are there to be found."""
    answer = asked(client, call, bearing(keyed.make(Role.AUDITOR)))
    metadata = ("GET /healthz", "GET /readyz", "GET /metrics", "GET /v1/agents", "GET /v1/access", DIFF)
    if call in metadata or call.startswith("GET /v1/analytics/"):
        assert not any(word in answer.text for word in WORDS.values())
    else:
        assert any(word in answer.text for word in WORDS.values()), f"nothing to withhold in {call}"
        assert "withheld" not in answer.text


@pytest.mark.parametrize("call", CALLS)
def test_what_is_withheld_is_named(client, keyed, call):
    secret = asked(client, call, bearing(keyed.make(Role.AUDITOR)))
    answer = asked(client, call, bearing(keyed.make(Role.OPERATOR)))
    if answer.status_code == 200 and any(word in secret.text for word in WORDS.values()):
        told = [line.removeprefix("data: ") for line in answer.text.splitlines()]
        lines = [json.loads(line) for line in told if line.startswith("{")]
        assert any("withheld" in line or "withheld" in line.get("data", {}) for line in lines)


@pytest.mark.parametrize("denied", [Permission.READ_REASONING, Permission.READ_RAW, Permission.READ_CONTENT])
@pytest.mark.parametrize("call", CALLS)
def test_an_auditor_who_is_denied_one_permission_does_not_get_it_by_another_way(client, keyed, call, denied):
    key = keyed.make(Role.AUDITOR, denied=frozenset({denied}))
    answer = asked(client, call, bearing(key))
    assert answer.status_code in (200, 403)
    assert WORDS[denied] not in answer.text


@pytest.mark.parametrize("call", CALLS)
def test_a_stranger_is_told_nothing(client, call):
    answer = asked(client, call)
    if CALLS[call]["x-permission"] is None:
        assert answer.status_code == 200
        assert set(answer.json()) <= {"status", "ready"}
        return
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="spanledger"'
    assert "server" not in answer.headers
    assert set(answer.json()) == {"type", "title", "status", "detail"}


@pytest.mark.parametrize(
    "path", ["/", "/nowhere", "/v1", "/openapi.json", "/docs", "/redoc", "/tempo/api/search", "/v1/sql"]
)
def test_a_stranger_does_not_learn_what_paths_there_are(client, path):
    assert client.get(path).status_code == 401
    assert client.post(path).status_code == 401


def test_the_tenant_of_every_read_is_the_key_s(keyed, waiter):
    reader = reader_with_secrets()
    app = create_app(reader=reader, waiter=waiter, registry=CollectorRegistry(), gate=keyed.gate, trail=kept_trail())
    key = keyed.make(Role.AUDITOR, "acme")
    with TestClient(app) as client:
        for call in CALLS:
            asked(
                client,
                call,
                bearing(key) | {"x-tenant": DEFAULT_TENANT, "tenant": DEFAULT_TENANT, "x-scope-orgid": DEFAULT_TENANT},
            )
    assert reader.tenants == {"acme"}


@pytest.mark.parametrize("name", ["tenant", "tenant_id", "project"])
def test_a_tenant_cannot_be_asked_for(client, keyed, name):
    answer = client.get("/v1/runs", params={name: "other"}, headers=bearing(keyed.make()))
    assert answer.status_code == 422


def test_no_route_names_a_tenant_or_a_reader():
    for source in ROUTES.glob("*.py"):
        text = source.read_text()
        for word in ("DEFAULT_TENANT", "Tenant,", "tenant=", "state.view", "DuckDbReader", "._reader"):
            assert word not in text, f"{source.name} goes past the TenantView"


def test_a_page_says_what_was_withheld_of_its_own_rows_and_of_no_others(keyed, waiter):
    """The first message has reasoning, the second has none."""
    reader = reader_with_secrets()
    [first] = reader.message_rows
    reader.message_rows = [replace(first, ordinal=0), replace(first, ordinal=1, parts=[TEXT_PART])]
    app = create_app(reader=reader, waiter=waiter, registry=CollectorRegistry(), gate=keyed.gate, trail=kept_trail())
    headers = bearing(keyed.make(Role.AUDITOR, denied=frozenset({Permission.READ_REASONING})))
    with TestClient(app) as client:
        page = client.get("/v1/runs/known/messages", params={"limit": 1}, headers=headers).json()
        assert page["withheld"] == ["reasoning"]
        following = {"limit": 1, "cursor": page["next_cursor"]}
        after = client.get("/v1/runs/known/messages", params=following, headers=headers).json()
    assert [message["parts"] for message in after["messages"]] == [[TEXT_PART]]
    assert "withheld" not in after


def test_a_replay_is_withheld_event_by_event_and_not_read_before_it_is_asked_for():
    told: list[str] = []

    class Telling(FakeReader):
        def replay(self, tenant: str, run_id: str, **_: object) -> Iterator[ReplayEvent]:
            for event in self.replay_events:
                told.append(tenant)
                yield event

    operator = Principal(
        kind="key", name="key:a", tenant="acme", role=Role.OPERATOR, permissions=ROLE_PERMISSIONS[Role.OPERATOR]
    )
    note = Note()
    reader = Telling(replay_events=reader_with_secrets().replay_events)
    shown = TenantReader(reader, operator, set(), note).replay("known")
    assert note.run_id == "known"
    assert told == []
    assert next(shown).data == {"role": "user", "text": None, "withheld": ["text"]}
    assert told == ["acme"]


def test_a_search_through_what_is_withheld_is_refused(client, keyed):
    answer = client.get("/v1/runs", params={"q": "word"}, headers=bearing(keyed.make(Role.OPERATOR)))
    assert (answer.status_code, answer.json()["missing"]) == (403, "read_content")
    assert client.get("/v1/runs", params={"q": "word"}, headers=bearing(keyed.make(Role.AUDITOR))).status_code == 200


def undeclared() -> FastAPI:
    return FastAPI(openapi_url=None, docs_url=None, redoc_url=None)


@pytest.mark.parametrize("kind", ["a route", "a route of a router", "a mount", "a plain route", "two declarations"])
def test_an_application_with_a_route_that_declares_nothing_is_refused(kind):
    app = undeclared()

    async def nothing() -> None: ...

    match kind:
        case "a route":
            app.get("/v1/new")(nothing)
        case "a route of a router":
            router = APIRouter()
            router.get("/v1/new")(nothing)
            app.include_router(router)
        case "a mount":
            app.routes.append(Mount("/static", routes=[]))
        case "a plain route":
            app.routes.append(Route("/plain", nothing))
        case _:
            app.get("/v1/new", dependencies=[needs(Permission.READ_RUNS), needs(Permission.WRITE)])(nothing)
    with pytest.raises(UndeclaredRoute):
        check_declared(app)


def test_an_application_whose_routes_all_declare_something_is_not_refused():
    app = undeclared()
    app.get("/v1/new", dependencies=[needs(Permission.READ_RUNS, Kind.CONTENT)])(lambda: None)
    check_declared(app)


HOSTILE: dict[str, tuple[dict[str, Any], int]] = {
    "a malformed key": ({"headers": {"authorization": "Bearer slk_x"}}, 401),
    "a key of another server": ({"headers": bearing(new_key())}, 401),
    "no scheme": ({"headers": {"authorization": new_key()}}, 401),
    "basic": ({"headers": {"authorization": "Basic dTpw"}}, 401),
    "an oversized header": ({"headers": {"authorization": "Bearer " + "a" * 60_000}}, 401),
    "a token where there is no issuer": ({"headers": {"authorization": "Bearer eyJhbGciOiJub25lIn0.e30."}}, 401),
    "x-api-key": ({"headers": {"x-api-key": new_key()}}, 401),
    "a cookie": ({"headers": {"cookie": f"authorization={new_key()}"}}, 401),
    "x-forwarded-for loopback": ({"headers": {"x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1"}}, 401),
    "x-original-url": ({"headers": {"x-original-url": "/healthz", "x-rewrite-url": "/healthz"}}, 401),
    "another method in a header": ({"headers": {"x-http-method-override": "GET"}}, 401),
    "a key in the query": ({"params": {"key": "abc"}}, 400),
    "a token in the query": ({"params": {"access_token": "abc"}}, 400),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_client_gets_no_further(client, name):
    given, status = HOSTILE[name]
    answer = client.get("/v1/runs", **given)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "slk_" not in answer.text.replace("slk_..._...", "")


@pytest.mark.parametrize("changed", [{"revoked_at": 1.0}, {"expires_at": 1.0}])
def test_a_dead_key_is_refused_with_the_reason(client, keyed, changed):
    answer = client.get("/v1/runs", headers=bearing(keyed.make(**changed)))
    assert answer.status_code == 401
    assert ("revoked" if "revoked_at" in changed else "expired") in answer.json()["detail"]


@pytest.mark.parametrize(
    "path",
    ["/healthz/../v1/runs", "/healthz/%2e%2e/v1/runs", "//v1/runs", "/healthz;/v1/runs", "/healthz%00", "/metrics/../v1/runs",
     "/healthz/", "/HEALTHZ", "/readyz/v1/runs", "/v1/runs/%2e%2e/%2e%2e/healthz", "/.//healthz", "/healthz%2f..%2fv1/runs"],
)  # fmt: skip
def test_a_path_that_looks_like_an_open_one_is_not(client, path):
    scope_path = path.replace("%2e", ".").replace("%2f", "/").replace("%00", "\0")
    assert _raw(client.app, path, scope_path) == 401


def _raw(app: Any, raw: str, path: str) -> int:
    """The status of a request whose path no client library has tidied up."""
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": raw.encode(), "query_string": b"", "headers": [],
        "http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2), "root_path": "",
    }  # fmt: skip
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(event: Any) -> None:
        if event["type"] == "http.response.start":
            statuses.append(event["status"])

    asyncio.run(app(scope, receive, send))
    return statuses[0]


def test_two_authorization_headers_are_refused_even_where_one_is_good(client, keyed):
    good = f"Bearer {keyed.make()}"
    answer = client.get("/v1/runs", headers=[("authorization", good), ("authorization", "Bearer x")])
    assert answer.status_code == 401


def test_the_host_header_must_name_this_server(keyed, waiter):
    guarded = KeyedGate(hosts=["127.0.0.1", "localhost"])
    app = create_app(
        reader=reader_with_secrets(), waiter=waiter, registry=CollectorRegistry(), gate=guarded.gate, trail=kept_trail()
    )
    key = guarded.make()
    with TestClient(app, base_url="http://evil.example") as client:
        assert client.get("/v1/runs", headers=bearing(key)).status_code == 421
        assert client.get("/v1/runs").status_code == 421, "before anything is said of the credential"
        assert client.get("/healthz").status_code == 200
        assert client.get("/v1/runs", headers=bearing(key) | {"host": "127.0.0.1:8321"}).status_code == 200
        forwarded = bearing(key) | {"x-forwarded-host": "127.0.0.1"}
        assert client.get("/v1/runs", headers=forwarded).status_code == 421


def test_a_page_of_another_site_may_read_nothing(client, keyed):
    asked = {"origin": "https://evil.example", "access-control-request-method": "GET"}
    for answer in (
        client.options("/v1/runs", headers=asked),
        client.get("/v1/runs", headers=asked | bearing(keyed.make())),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_key_that_asks_too_often_is_told_when_to_come_again(waiter):
    guarded = KeyedGate()
    key = guarded.make(requests_per_second=2)
    app = create_app(
        reader=reader_with_secrets(), waiter=waiter, registry=CollectorRegistry(), gate=guarded.gate, trail=kept_trail()
    )
    with TestClient(app) as client:
        answers = [client.get("/v1/runs", headers=bearing(key)) for _ in range(30)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert refused[0].headers["retry-after"] == "1"


def test_metrics_are_open_only_where_the_setting_says_so(waiter):
    for is_open, status in ((True, 200), (False, 401)):
        guarded = KeyedGate(metrics_open=is_open)
        app = create_app(
            reader=reader_with_secrets(),
            waiter=waiter,
            registry=CollectorRegistry(),
            gate=guarded.gate,
            trail=kept_trail(),
        )
        with TestClient(app) as client:
            assert client.get("/metrics").status_code == status
            assert client.get("/metrics", headers=bearing(guarded.make(Role.METRICS))).status_code == 200


def test_a_refusal_is_logged_without_what_was_presented(client, capsys):
    key = new_key()
    client.get(f"/v1/runs?key={key}", headers=bearing(key))
    client.get(f"/v1/runs/{key}", headers=bearing(key))
    client.get("/v1/runs", headers=bearing(key))
    said = capsys.readouterr()
    assert "request_refused" in said.out + said.err
    assert key not in said.out + said.err
    assert key.rpartition("_")[2] not in said.out + said.err
