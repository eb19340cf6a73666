"""Where the commands read runs from: the API of a running server, or the data folder itself when no server holds it.

Both sides give the store's rows, so that what is shown does not depend on where it came from.
"""

import ssl
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from query.routes.sql import MEDIA_TYPES
from query.trail import PURPOSE_BYTES_MAX, PURPOSE_HEADER, WITHHOLD_HEADER, purpose_of
from spanledger import following
from spanledger.errors import FrontDoorError, UsageError
from spanledger.gatehouse import read_key_file
from spanledger.local_record import CATCH_UP_SECONDS, SQL_HINT, LocalRecord, SqlResult, open_ledger
from spanledger.purposes import Purposes
from spanledger.settings import Settings, sql_limits_of
from spanledger.windows import WHOLE, Window
from store.contract import AccessFilter, Page, RunFilter, StepFilter
from store.errors import BadQuery
from store.ledger import running_server
from store.model.diff_rows import RunDiff
from store.model.rows import AccessRow, ReplayEvent, RunRow, StepRow
from store.questions import ResultForm
from store.record import DEFAULT_TENANT, Position

Row = TypeVar("Row")

# A server may make a read wait 10 s for its view; past that and a margin something is wrong.
_READ_SECONDS: Final = 30.0
KEY_ENVIRONMENT: Final = "SPANLEDGER_KEY"
PURPOSE_ENVIRONMENT: Final = "SPANLEDGER_PURPOSE"
CA_ENVIRONMENT: Final = "SPANLEDGER_CA_FILE"
# Who only waits reads nothing that is worth a record.
_WITHOUT_CONTENT: Final = {WITHHOLD_HEADER: "content"}
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_BUSY_PAUSE_SECONDS: Final = 0.5
_SQL_SECONDS: Final = 630.0  # As long as the setting `sql_seconds_max` may be, and a margin.
_OF_STATEMENTS: Final = ("bad-sql", "sql-not-allowed", "sql-too-large", "sql-timeout", "sql-busy")


class RunRecord(Protocol):
    """What the commands ask. Every method raises FrontDoorError."""

    def runs(self, where: RunFilter, *, limit: int, cursor: str | None) -> Page[RunRow]:
        """Runs, newest start first."""
        ...

    def accesses(self, where: AccessFilter, *, limit: int, cursor: str | None) -> Page[AccessRow]:
        """Who read what, the latest first."""
        ...

    def replay(self, run_id: str, window: Window = WHOLE) -> Iterator[ReplayEvent]:
        """A run as ordered events, or a window of it."""
        ...

    def diff(self, run_id: str, other_run_id: str) -> RunDiff:
        """Two runs, aligned."""
        ...

    def live(self, where: StepFilter, after: str | None, *, follow: bool) -> Iterator[StepRow]:
        """Steps in the order of the record behind an event, a position or `start`; None: from now on. Without `follow`
        they end where the record does.
        """
        ...

    def wait_for(self, position: Position) -> None:
        """Return when the view holds `position`."""
        ...

    def sql(self, text: str, form: ResultForm, limit: int | None) -> SqlResult:
        """What a statement answers, of at most `limit` rows: None for as many as are given unless more are asked for."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunPage:
    runs: list[RunRow]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _AccessPage:
    access: list[AccessRow]
    next_cursor: str | None


class NotPermitted(FrontDoorError):
    """The server does not let the command in, or not to what it asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientAccess:
    """What a command presents to a server, and by what it knows the server."""

    key: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    """Certificates, in PEM, that vouch for the server's; None for the system's."""
    purpose: str | None = None
    """What the command is run for, which is recorded with what it reads."""


NO_ACCESS: Final = ClientAccess()


def client_access(key_file: Path | None, environment: Mapping[str, str]) -> ClientAccess:
    """The key of an option's file, or of SPANLEDGER_KEY; the certificates of SPANLEDGER_CA_FILE; the purpose of
    SPANLEDGER_PURPOSE. Raises UsageError.
    """
    key = environment.get(KEY_ENVIRONMENT, "").strip() or None
    if key_file is not None:
        key = read_key_file(key_file, "--key-file ")
    elif key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise UsageError(f"{KEY_ENVIRONMENT} does not hold a key", "give one that `spanledger keys create` printed")
    ca_file = environment.get(CA_ENVIRONMENT)
    try:
        purpose = (
            purpose_of([environment[PURPOSE_ENVIRONMENT].encode()]) if PURPOSE_ENVIRONMENT in environment else None
        )
    except (BadQuery, UnicodeEncodeError) as error:
        raise UsageError(
            f"{PURPOSE_ENVIRONMENT}: {error}", f"give at most {PURPOSE_BYTES_MAX} bytes of text on one line"
        ) from error
    return ClientAccess(key=key, ca_file=Path(ca_file) if ca_file else None, purpose=purpose)


def http_client(url: str, seconds: float, access: ClientAccess = NO_ACCESS) -> httpx.Client:
    """A client of a Spanledger address. Raises UsageError where it is none."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UsageError(f"{url!r} is not an address: {error}", "give one like http://127.0.0.1:8321") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UsageError(f"{url!r} is not an address", "give one like http://127.0.0.1:8321")
    # A proxy of the environment cannot reach this machine's loopback, and would be asked to.
    return httpx.Client(
        base_url=parsed,
        timeout=seconds,
        trust_env=parsed.host not in _LOOPBACK,
        headers=_headers(access),
        verify=_verifying(access.ca_file) if parsed.scheme == "https" else True,
    )


def _headers(access: ClientAccess) -> dict[bytes, bytes]:
    presented = {b"Authorization": f"Bearer {access.key}".encode()} if access.key else {}
    return presented | ({PURPOSE_HEADER.encode(): access.purpose.encode()} if access.purpose else {})


def _verifying(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # An SSLError is one, too.
        raise UsageError(
            f"{CA_ENVIRONMENT}: {ca_file} cannot be used: {error.strerror or error}",
            "name a file of certificates in PEM",
        ) from error


class ServedRecord:
    """The record behind the API of a running server."""

    def __init__(self, url: str, access: ClientAccess = NO_ACCESS) -> None:
        self._url = url
        self._client = http_client(url, _READ_SECONDS, access)

    def close(self) -> None:
        self._client.close()

    def runs(self, where: RunFilter, *, limit: int, cursor: str | None) -> Page[RunRow]:
        page = self._decoded(self._get("/v1/runs", _parameters(where, limit, cursor)), _RunPage)
        return Page(page.runs, page.next_cursor)

    def accesses(self, where: AccessFilter, *, limit: int, cursor: str | None) -> Page[AccessRow]:
        page = self._decoded(self._get("/v1/access", _parameters(where, limit, cursor)), _AccessPage)
        return Page(page.access, page.next_cursor)

    def replay(self, run_id: str, window: Window = WHOLE) -> Iterator[ReplayEvent]:
        path = f"/v1/runs/{quote(run_id, safe='')}/replay"
        try:
            with self._client.stream("GET", path, params=window.parameters()) as response:
                if not response.is_success:
                    response.read()
                    raise self._refused(response)
                for text in response.iter_lines():
                    yield self._decoded(text.encode(), ReplayEvent)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def diff(self, run_id: str, other_run_id: str) -> RunDiff:
        path = f"/v1/runs/{quote(run_id, safe='')}/diff/{quote(other_run_id, safe='')}"
        return self._decoded(self._get(path, {}), RunDiff)

    def sql(self, text: str, form: ResultForm, limit: int | None) -> SqlResult:
        asked = {"sql": text} if limit is None else {"sql": text, "limit": limit}
        accept = next(name for name, one in MEDIA_TYPES.items() if one is form)
        try:
            response = self._client.post("/v1/sql", json=asked, headers={"Accept": accept}, timeout=_SQL_SECONDS)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if not response.is_success:
            raise self._refused(response)
        said = response.headers
        return SqlResult(
            body=response.content,
            truncated=said.get("spanledger-truncated"),
            withheld=said.get("spanledger-withheld"),
        )

    def live(self, where: StepFilter, after: str | None, *, follow: bool) -> Iterator[StepRow]:
        parameters = _conditions(where) | ({} if after is None else {"after": after}) | {"follow": str(follow).lower()}
        try:
            for data in following.follow(self._client, parameters, refused=self._refused, follow=follow):
                yield self._decoded(data.encode(), StepRow)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def journal_position(self) -> Position | None:
        """The last position that was acknowledged."""
        return self._position("journal_position")

    def _position(self, name: str) -> Position | None:
        try:
            # Not ready is 503 and says how far it is all the same.
            response = self._response("/readyz", {})
            readiness: dict[str, Any] = msgspec.json.decode(response.content)
            if list(readiness) == ["ready"]:  # All that a stranger is told.
                refused = self._response("/v1/runs", {"limit": 1}, _WITHOUT_CONTENT)
                if not refused.is_success:
                    raise self._refused(refused)
            position = readiness[name]
            return None if position is None else Position.parse(position)
        except (msgspec.DecodeError, KeyError, TypeError, BadQuery) as error:
            raise self._not_ours(error) from error

    def wait_for(self, position: Position) -> None:
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while True:
            # A read waits 10 s at most and then says 504 (503 when too many wait): the view is only behind.
            response = self._response("/v1/runs", {"limit": 1, "min_position": str(position)}, _WITHOUT_CONTENT)
            if response.is_success:
                return
            if response.status_code not in (503, 504) or time.monotonic() > deadline:
                raise self._refused(response)
            if response.status_code == 503:
                time.sleep(_BUSY_PAUSE_SECONDS)

    def _get(self, path: str, parameters: dict[str, Any]) -> bytes:
        response = self._response(path, parameters)
        if not response.is_success:
            raise self._refused(response)
        return response.content

    def _response(self, path: str, parameters: dict[str, Any], headers: dict[str, str] | None = None) -> httpx.Response:
        try:
            return self._client.get(path, params=parameters, headers=headers)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _decoded(self, body: bytes, kind: type[Row]) -> Row:
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise self._not_ours(error) from error

    def _refused(self, response: httpx.Response) -> FrontDoorError:
        try:
            problem: dict[str, Any] = msgspec.json.decode(response.content)
            detail = str(problem["detail"])
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            return self._not_ours(error)
        if response.status_code in (401, 403):
            return NotPermitted(
                f"the server at {self._url} answered {response.status_code}: {detail}",
                f"give a key that may with --key-file or {KEY_ENVIRONMENT}; `spanledger keys create` makes one",
            )
        if response.status_code == 404:
            return FrontDoorError(detail, "`spanledger runs` lists the runs there are")
        if str(problem.get("type", "")).endswith(_OF_STATEMENTS):
            at = f" (at character {problem['position']})" if problem.get("position") is not None else ""
            return FrontDoorError(detail + at, SQL_HINT)
        hint = (
            "correct the option" if response.status_code == 422 else f"look at {self._url}/readyz and the server's log"
        )
        return FrontDoorError(f"the server at {self._url} answered {response.status_code}: {detail}", hint)

    def _unreachable(self, error: httpx.HTTPError) -> FrontDoorError:
        return FrontDoorError(
            f"cannot reach the server at {self._url}: {error or type(error).__name__}",
            "start one with `spanledger serve`, or give the address of its API with --url",
        )

    def _not_ours(self, error: Exception) -> FrontDoorError:
        return FrontDoorError(
            f"what answers at {self._url} does not speak this version's API: {error}",
            "give the address of a Spanledger API with --url (`serve` prints it under `api`)",
        )


def _parameters(where: RunFilter | AccessFilter, limit: int, cursor: str | None) -> dict[str, Any]:
    return _conditions(where) | ({} if cursor is None else {"cursor": cursor}) | {"limit": limit}


def _conditions(where: RunFilter | AccessFilter | StepFilter) -> dict[str, Any]:
    asked = {member.name.removesuffix("_ns"): getattr(where, member.name) for member in fields(where)}
    return {name: value for name, value in asked.items() if value is not None}


@contextmanager
def open_record(url: str | None, settings: Settings, access: ClientAccess = NO_ACCESS) -> Generator[RunRecord]:
    """The record to read: of the server at `url`, of the server that holds the data folder, or of the folder itself.

    `access` is for a server: who can read the folder itself needs no key.
    """
    data = settings.data
    served = url or (running_server(data) or {}).get("api")
    if served is not None:
        record = ServedRecord(served, access)
        try:
            yield record
        finally:
            record.close()
        return
    if not data.is_dir():
        raise FrontDoorError(
            f"there is no data folder {data}, and no server was named",
            "start `spanledger serve`, name its folder with --data, or the address of its API with --url",
        )
    with open_ledger(settings) as ledger:
        purpose = Purposes(settings).redact(DEFAULT_TENANT, access.purpose) if access.purpose else None
        record = LocalRecord(ledger, purpose=purpose, limits=sql_limits_of(settings))
        last = ledger.waiter.readiness()["journal_position"]
        if last is not None:
            record.wait_for(Position.parse(str(last)))
        yield record
