"""Reads leave a trace: one record a call, durable before the answer begins, or no content is shown.

The matrix is made from the OpenAPI document, so a call that is added is in it.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.testclient import TestClient

from access.permissions import Permission, Role
from access.refusals import ENTRIES_MAX, Refusal
from query.app import create_app
from query.guard import Declaration, UndeclaredRoute, check_declared, needs
from query.trail import PURPOSE_BYTES_MAX, PURPOSE_HEADER, WITHHOLD_HEADER, Kind, Trail, purpose_of
from query.view import ViewOf
from store.access_records import CONTENT_IDS_MAX, digest_of_filter, digest_of_ids
from store.errors import BadQuery, JournalFailed, JournalFull
from store.record import DEFAULT_TENANT, Position
from tests.builders import JOURNAL_ID
from tests.gates import KeyedGate, bearing, open_gate
from tests.query.rows_with_secrets import reader_with_secrets
from tests.query.test_guard import CALLS, PARAMETERS, WORDS, asked, body_of, path_of
from tests.trails import KeptRecords, trail_of

RECORDED = {call: said["x-access"] for call, said in CALLS.items() if said["x-access"] != "metadata"}
METADATA = [call for call in CALLS if call not in RECORDED]
ACTIONS = {"content": "read", "replay": "replay", "access": "access", "export": "export", "statement": "statement"}
FULL = JournalFull("the disk is full")


@pytest.fixture
def keyed() -> KeyedGate:
    return KeyedGate()


@pytest.fixture
def log() -> KeptRecords:
    return KeptRecords()


@pytest.fixture
def reader():
    return reader_with_secrets()


@pytest.fixture
def app(reader, waiter, keyed, log) -> FastAPI:
    return create_app(
        reader=reader, waiter=waiter, registry=CollectorRegistry(), gate=keyed.gate, trail=trail_of(log)
    )  # fmt: skip


@pytest.fixture
def client(app) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False, client=("192.0.2.7", 4711)) as client:
        yield client


def ask(client: TestClient, call: str, key: str, **headers: str) -> Any:
    return asked(client, call, bearing(key) | headers)


async def _request(app: Any, call: str, key: str, sent: list[dict[str, Any]]) -> None:
    """One request as raw ASGI, so that it shows what is sent and when."""
    query = "&".join(f"{name}={value}" for name, value in PARAMETERS.get(call, {}).items())
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        "method": call.partition(" ")[0],
        "path": path_of(call), "raw_path": path_of(call).encode(), "query_string": query.encode(), "root_path": "",
        "scheme": "http", "headers": [(b"authorization", f"Bearer {key}".encode())], "client": ("192.0.2.7", 1),
        "server": ("127.0.0.1", 80),
    }  # fmt: skip
    heard = False

    async def receive() -> dict[str, Any]:
        nonlocal heard
        if heard:
            await asyncio.Event().wait()
        heard = True
        return {"type": "http.request", "body": body_of(call), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    await app(scope, receive, send)


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


# One record a call, before its answer


@pytest.mark.parametrize("call", RECORDED)
def test_a_call_that_shows_more_than_metadata_is_recorded_once_with_who_and_what(client, keyed, log, call):
    key = keyed.make(Role.AUDITOR, "acme")
    before_ns = time.time_ns()
    assert ask(client, call, key).status_code == 200
    [(tenant, record)] = log.kept
    assert tenant == "acme"
    assert (record.who, record.key_prefix, record.role) == (f"key:{key[4:12]}", key[4:12], "auditor")
    assert (record.action, record.call, record.outcome, record.door) == (
        ACTIONS[RECORDED[call]],
        call,
        "allowed",
        "api",
    )
    assert (record.peer, record.count) == ("192.0.2.7", 1)
    assert before_ns <= record.at_ns <= time.time_ns()
    if "{run_id}" in call:
        assert record.run_id == "known"
    if "{step_id}" in call:
        assert record.step_id == "known"
    if "{content_id}" in call:
        assert record.content_ids == ("known",)


@pytest.mark.parametrize("call", RECORDED)
def test_not_a_byte_is_sent_before_the_record_is_durable(app, keyed, log, call):
    key = keyed.make(Role.AUDITOR)
    log.held = True
    sent: list[dict[str, Any]] = []

    async def scenario() -> None:
        asking = asyncio.create_task(_request(app, call, key, sent))
        await _until(lambda: log.waiting or asking.done())
        await asyncio.sleep(0.02)  # Time in which it could send what it must not.
        assert not asking.done()
        assert sent == []
        log.waiting[0].set_result(Position(JOURNAL_ID, 1))
        await asking

    asyncio.run(scenario())
    assert sent[0]["status"] == 200
    assert len(log.kept) == 1


@pytest.mark.parametrize("call", METADATA)
def test_a_call_of_metadata_leaves_no_record(client, keyed, log, call):
    for role in Role:
        if ask(client, call, keyed.make(role)).status_code == 200:
            assert log.take() == []
        log.take()


@pytest.mark.parametrize("call", [call for call, kind in RECORDED.items() if kind == "content"])
def test_who_sees_no_content_reads_metadata_and_leaves_no_record(client, keyed, log, call):
    assert ask(client, call, keyed.make(Role.OPERATOR)).status_code in (200, 403)
    assert [record for record in log.records if record.outcome == "allowed"] == []


def test_a_replay_is_recorded_whoever_watches_it(client, keyed, log):
    ask(client, "GET /v1/runs/{run_id}/replay", keyed.make(Role.OPERATOR))
    assert [(record.action, record.role, record.run_id) for record in log.records] == [("replay", "operator", "known")]


@pytest.mark.parametrize(
    ("permission", "reads"),
    [(Permission.READ_CONTENT, True), (Permission.READ_METRICS, False), (Permission.READ_ACCESS, False)],
)
def test_one_permission_for_content_is_enough_to_be_recorded(client, keyed, log, permission, reads):
    ask(client, "GET /v1/runs/{run_id}/steps", keyed.make(Role.OPERATOR, granted=frozenset({permission})))
    assert bool(log.records) is reads


def test_rows_without_content_are_metadata_for_whoever_sees_them(client, keyed, log, reader):
    reader.message_rows = []
    key = keyed.make(Role.AUDITOR)
    assert ask(client, "GET /v1/runs/{run_id}/messages", key).json()["messages"] == []
    assert log.take() == []
    reader.step_rows = []
    ask(client, "GET /v1/steps", key)
    assert log.take() == []


def test_a_search_in_content_is_a_read_of_it_even_if_nothing_is_found(client, keyed, log, reader):
    reader.run_rows = []
    client.get("/v1/runs", params={"q": "a secret word"}, headers=bearing(keyed.make(Role.AUDITOR)))
    [record] = log.records
    assert (record.action, record.filters, record.rows) == ("read", ("q",), 0)
    assert record.filter_digest == digest_of_filter([("q", "a secret word")])
    assert "secret" not in repr(record)


@pytest.mark.parametrize("path", ["/v1/runs/nowhere/replay", "/v1/contents/nowhere", "/v1/runs/known/steps?limit=0"])
def test_what_shows_nothing_leaves_no_record(client, keyed, log, path):
    assert client.get(path, headers=bearing(keyed.make(Role.AUDITOR))).status_code in (404, 422)
    assert log.records == []


def test_the_ids_of_content_are_named_up_to_a_bound_and_then_counted_and_digested(client, keyed, log, reader):
    message = reader.message_rows[0]
    key = keyed.make(Role.AUDITOR)
    for count in (CONTENT_IDS_MAX, CONTENT_IDS_MAX + 1):
        ids = [f"id{number:03d}" for number in range(count)]
        reader.message_rows = [replace(message, content_id=one) for one in [*ids, ids[0]]]
        ask(client, "GET /v1/runs/{run_id}/messages", key)
        [record] = log.take()
        assert (record.content_count, record.rows) == (count, count + 1)
        if count > CONTENT_IDS_MAX:
            assert (record.content_ids, record.content_digest) == ((), digest_of_ids(ids))
        else:
            assert (record.content_ids, record.content_digest) == (tuple(ids), None)


def test_a_server_without_keys_records_whoever_asks_as_open_for_the_default_tenant(reader, waiter, log):
    app = create_app(
        reader=reader, waiter=waiter, registry=CollectorRegistry(), gate=open_gate(), trail=trail_of(log)
    )  # fmt: skip
    with TestClient(app) as client:
        client.get("/v1/contents/known")
    [(tenant, record)] = log.kept
    assert (tenant, record.who, record.key_prefix, record.role) == (DEFAULT_TENANT, "open", None, None)


# When it cannot be recorded


@pytest.mark.parametrize("failure", [FULL, JournalFailed("a write failed")])
@pytest.mark.parametrize("call", RECORDED)
def test_what_cannot_be_recorded_is_not_shown_and_the_reason_is_told(client, keyed, log, call, failure):
    log.failure = failure
    answer = ask(client, call, keyed.make(Role.AUDITOR))
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:spanledger:problem:access-unrecordable"
    assert str(failure) in answer.json()["detail"]
    assert answer.headers["retry-after"] == "5"
    assert not any(word in answer.text for word in WORDS.values())


@pytest.mark.parametrize("call", CALLS)
def test_metadata_is_answered_although_nothing_can_be_recorded(client, keyed, log, call):
    log.failure = FULL
    kind = CALLS[call]["x-access"]
    for role in (Role.OPERATOR, Role.METRICS):
        assert ask(client, call, keyed.make(role)).status_code in ((200, 403) if kind != "access" else (403,))


def test_a_stream_that_cannot_be_recorded_is_not_read_on(reader, waiter, keyed, log):
    app = create_app(
        reader=reader, waiter=waiter, registry=CollectorRegistry(), gate=keyed.gate, trail=trail_of(log)
    )  # fmt: skip
    given: list[int] = []

    def lines() -> Iterator[bytes]:
        for number in range(100_000):
            given.append(number)
            yield b"x" * 1000

    router = APIRouter()
    router.get("/v1/stream", dependencies=[needs(Permission.READ_RUNS, Kind.EXPORT)])(
        lambda: StreamingResponse(lines())
    )
    app.include_router(router)
    log.failure = FULL
    with TestClient(app) as client:
        answer = client.get("/v1/stream", headers=bearing(keyed.make()))
    assert answer.status_code == 503
    assert len(given) < 10


def test_a_disk_that_does_not_answer_refuses_the_read_after_a_while(reader, waiter, keyed, log):
    trail = trail_of(log, seconds_max=0.05)
    log.held = True
    app = create_app(reader=reader, waiter=waiter, registry=CollectorRegistry(), gate=keyed.gate, trail=trail)
    with TestClient(app) as client:
        answer = ask(client, "GET /v1/contents/{content_id}", keyed.make(Role.AUDITOR))
    assert answer.status_code == 503
    assert "did not take it" in answer.json()["detail"]


# What a route declares


def test_an_application_with_a_route_that_says_no_kind_of_access_is_not_made():
    app, router = FastAPI(openapi_url=None), APIRouter()
    router.get("/v1/secret", dependencies=[needs(Permission.READ_RUNS)])(lambda: None)
    app.include_router(router)
    with pytest.raises(UndeclaredRoute, match="no kind of access"):
        check_declared(app)


def test_a_statement_is_recorded_by_its_digest_also_where_it_fails(reader, waiter, keyed, log):
    app = create_app(
        reader=reader, waiter=waiter, registry=CollectorRegistry(), gate=keyed.gate, trail=trail_of(log)
    )  # fmt: skip
    router = APIRouter()

    def ask_statement(view: ViewOf, status: int) -> PlainTextResponse:
        view.note.states("SELECT 'a secret'")
        return PlainTextResponse("rows", status)

    router.get("/v1/statement", dependencies=[needs(Permission.READ_RUNS, Kind.STATEMENT)])(ask_statement)
    app.include_router(router)
    with TestClient(app) as client:
        for status, outcome in ((200, "allowed"), (422, "failed")):
            client.get("/v1/statement", params={"status": status}, headers=bearing(keyed.make()))
            [record] = log.take()
            assert (record.action, record.outcome) == ("statement", outcome)
            assert record.statement_digest == hashlib.sha256(b"SELECT 'a secret'").hexdigest()


def test_an_answer_of_which_nobody_said_what_it_is_counts_as_content(reader, waiter, keyed, log):
    app = create_app(
        reader=reader, waiter=waiter, registry=CollectorRegistry(), gate=keyed.gate, trail=trail_of(log)
    )  # fmt: skip
    app.add_route("/v1/sideways", lambda _: PlainTextResponse("content"))
    with TestClient(app) as client:
        client.get("/v1/sideways", headers=bearing(keyed.make(Role.AUDITOR)))
        assert [record.action for record in log.take()] == ["read"]
    assert Declaration(None, None).kind is None


# Why


def test_a_purpose_is_kept_redacted(client, keyed, log):
    key = keyed.make(Role.AUDITOR, "acme")
    ask(client, "GET /v1/contents/{content_id}", key, **{PURPOSE_HEADER: "incident 7"})
    assert [record.purpose for record in log.take()] == ["<acme:incident 7>"]
    ask(client, "GET /v1/contents/{content_id}", key, **{PURPOSE_HEADER: "  "})
    assert [record.purpose for record in log.take()] == [None]


@pytest.mark.parametrize(
    "purpose", ["x" * (PURPOSE_BYTES_MAX + 1), b"a\x01b", "b\u0085c".encode()], ids=["long", "control", "other control"]
)
def test_a_purpose_that_cannot_be_kept_is_refused_and_not_repeated(client, keyed, log, purpose):
    key = keyed.make(Role.AUDITOR)
    headers = [*bearing(key).items(), (PURPOSE_HEADER, purpose)]
    answer = client.get("/v1/contents/known", headers=headers)
    assert (answer.status_code, answer.json()["parameter"]) == (422, PURPOSE_HEADER)
    assert "xxx" not in answer.text
    assert log.records == []


def test_a_purpose_that_is_no_text_is_refused():
    with pytest.raises(BadQuery, match="UTF-8"):
        purpose_of([b"\xff\xfe"])


def test_two_purposes_are_refused(client, keyed):
    headers = [*bearing(keyed.make(Role.AUDITOR)).items(), (PURPOSE_HEADER, "a"), (PURPOSE_HEADER, "b")]
    assert client.get("/v1/contents/known", headers=headers).status_code == 422


# Refused attempts


@pytest.mark.parametrize(
    ("path", "headers", "answered"),
    [
        ("/v1/runs", {}, (401, "missing")),
        ("/v1/runs", {"authorization": "Basic x"}, (401, "malformed")),
        ("/v1/runs?key=abc", {}, (400, "credential_in_url")),
    ],
)
def test_an_attempt_of_a_stranger_is_recorded_without_what_was_presented(client, log, path, headers, answered):
    status, reason = answered
    assert client.get(path, headers=headers).status_code == status
    [(tenant, record)] = log.kept
    assert (tenant, record.who, record.action, record.outcome) == (DEFAULT_TENANT, "unknown", "enter", "refused")
    assert (record.reason, record.peer, record.call, record.count) == (reason, "192.0.2.7", None, 1)


def test_an_attempt_beyond_one_s_permissions_is_one_s_own_tenant_s(client, keyed, log):
    key = keyed.make(Role.OPERATOR, "acme")
    assert client.get("/v1/contents/guessed", headers=bearing(key)).status_code == 403
    [(tenant, record)] = log.kept
    assert (tenant, record.who, record.role) == ("acme", f"key:{key[4:12]}", "operator")
    assert (record.reason, record.call) == ("forbidden: read_content", "GET /v1/contents/{content_id}")
    assert "guessed" not in repr(record)


@pytest.mark.parametrize("changed", [{"revoked_at": 1.0}, {"expires_at": 1.0}])
def test_the_use_of_a_dead_key_is_its_tenant_s_to_see(client, keyed, log, changed):
    key = keyed.make(Role.AUDITOR, "acme")
    keyed.change(key, **changed)
    assert client.get("/v1/runs", headers=bearing(key)).status_code == 401
    [(tenant, record)] = log.kept
    assert (tenant, record.key_prefix, record.reason) == (
        "acme",
        key[4:12],
        "revoked" if "revoked_at" in changed else "expired",
    )
    assert key[13:] not in repr(record)


def test_a_host_of_a_stranger_is_recorded(reader, waiter, log):
    gate = KeyedGate(hosts=["127.0.0.1"]).gate
    app = create_app(reader=reader, waiter=waiter, registry=CollectorRegistry(), gate=gate, trail=trail_of(log))
    with TestClient(app, base_url="http://evil.example") as client:
        assert client.get("/v1/runs").status_code == 421
    assert [record.reason for record in log.records] == ["host_refused"]


def test_the_first_attempt_is_recorded_before_it_is_answered(app, log):
    log.held = True
    sent: list[dict[str, Any]] = []

    async def scenario() -> None:
        asking = asyncio.create_task(_request(app, "GET /v1/runs", "wrong", sent))
        await _until(lambda: log.waiting or asking.done())
        assert (sent, asking.done()) == ([], False)
        log.waiting[0].set_result(Position(JOURNAL_ID, 1))
        await asking

    asyncio.run(scenario())
    assert sent[0]["status"] == 401


def test_ten_thousand_attempts_are_a_frame_or_two_and_every_one_is_counted(log):
    trail = trail_of(log)
    begun = time.monotonic()

    async def scenario() -> None:
        for number in range(10_000):
            await trail.refused(_refusal(f"192.0.2.{number % 200}.{number % 7}"))

    asyncio.run(scenario())
    seconds = time.monotonic() - begun
    trail.write_refusals()
    assert log.frames <= 2 + seconds
    assert sum(record.count for record in log.records) == 10_000
    assert len(log.records) <= (ENTRIES_MAX + 2) * log.frames


def _refusal(peer: str | None) -> Any:
    return Refusal(who="unknown", door="api", reason="unknown", peer=peer)


def test_attempts_that_cannot_be_recorded_are_refused_all_the_same_and_counted_on(keyed, log, reader, waiter):
    trail = trail_of(log)
    app = create_app(reader=reader, waiter=waiter, registry=CollectorRegistry(), gate=keyed.gate, trail=trail)
    log.failure = FULL
    with TestClient(app) as client:
        for _ in range(3):
            assert client.get("/v1/runs").status_code == 401
    log.failure = None
    trail.write_refusals()
    assert [record.count for record in log.records] == [3]


def test_a_commit_that_fails_later_keeps_the_count(log):
    trail: Trail = trail_of(log)
    trail.refusals.note(_refusal("192.0.2.1"))
    log.held = True
    [done] = trail.write_refusals()
    done.set_exception(FULL)
    log.held = False
    log.kept.clear()
    trail.write_refusals()
    assert [record.count for record in log.records] == [1]


@pytest.mark.parametrize("call", RECORDED)
def test_whoever_asks_without_content_is_shown_metadata_while_nothing_can_be_recorded(client, keyed, log, call):
    log.failure = FULL
    answer = ask(client, call, keyed.make(Role.AUDITOR), **{WITHHOLD_HEADER: "content"})
    refused = RECORDED[call] == "access" or CALLS[call]["x-permission"] == "read_content"
    assert answer.status_code == ({"access": 503}.get(RECORDED[call], 403) if refused else 200)
    assert not any(word in answer.text for word in WORDS.values())


def test_another_wish_than_to_go_without_content_is_refused(client, keyed):
    answer = ask(client, "GET /v1/steps", keyed.make(Role.AUDITOR), **{WITHHOLD_HEADER: "everything"})
    assert (answer.status_code, answer.json()["parameter"]) == (422, WITHHOLD_HEADER)
