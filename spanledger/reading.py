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

from access.permissions import ALL_PERMISSIONS, Principal
from query.new_steps import new_steps
from query.routes.sql import MEDIA_TYPES
from query.view import ReadLimits, View
from spanledger.errors import FrontDoorError, UsageError
from spanledger.gatehouse import read_key_file
from spanledger.settings import Settings, sql_limits_of
from store.contract import Page, RunFilter
from store.errors import BadQuery
from store.ledger import Ledger, running_server
from store.model.prices import read_prices
from store.model.rows import ReplayEvent, RunRow, StepRow
from store.questions import ROWS_DEFAULT, ResultForm, SqlError, SqlFailed, SqlLimits, SqlNotAllowed
from store.record import DEFAULT_TENANT, Position

Row = TypeVar("Row")

# A server may make a read wait 10 s for its view; past that and a margin something is wrong.
_READ_SECONDS: Final = 30.0
KEY_ENVIRONMENT: Final = "SPANLEDGER_KEY"
CA_ENVIRONMENT: Final = "SPANLEDGER_CA_FILE"
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_CATCH_UP_SECONDS: Final = 600.0  # A folder that was never projected is projected whole; people can interrupt it.
_BUSY_PAUSE_SECONDS: Final = 0.5
_CLOSE_SECONDS: Final = 5.0
_SQL_SECONDS: Final = 630.0  # As long as the setting `sql_seconds_max` may be, and a margin.
_OF_STATEMENTS: Final = ("bad-sql", "sql-not-allowed", "sql-too-large", "sql-timeout", "sql-busy")
SQL_HINT: Final = "docs/sql.md lists the views, their columns and the functions"


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlResult:
    """The answer to a statement in the form that was asked for, and what there is to say of it."""

    body: bytes
    truncated: str | None
    withheld: str | None


class RunRecord(Protocol):
    """What the commands ask. Every method raises FrontDoorError."""

    def runs(self, where: RunFilter, *, limit: int, cursor: str | None) -> Page[RunRow]:
        """Runs, newest start first."""
        ...

    def replay(self, run_id: str) -> Iterator[ReplayEvent]:
        """A run as ordered events."""
        ...

    def new_steps(self, after: Position | None, *, limit: int) -> list[StepRow]:
        """Steps recorded after a position."""
        ...

    def view_position(self) -> Position | None:
        """How far the view is."""
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
class _StepPage:
    steps: list[StepRow]


class NotPermitted(FrontDoorError):
    """The server does not let the command in, or not to what it asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientAccess:
    """What a command presents to a server, and by what it knows the server."""

    key: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    """Certificates, in PEM, that vouch for the server's; None for the system's."""


NO_ACCESS: Final = ClientAccess()


def client_access(key_file: Path | None, environment: Mapping[str, str]) -> ClientAccess:
    """The key of an option's file, or of SPANLEDGER_KEY; the certificates of SPANLEDGER_CA_FILE. Raises UsageError."""
    key = environment.get(KEY_ENVIRONMENT, "").strip() or None
    if key_file is not None:
        key = read_key_file(key_file, "--key-file ")
    elif key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise UsageError(f"{KEY_ENVIRONMENT} does not hold a key", "give one that `spanledger keys create` printed")
    ca_file = environment.get(CA_ENVIRONMENT)
    return ClientAccess(key=key, ca_file=Path(ca_file) if ca_file else None)


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
        headers={"Authorization": f"Bearer {access.key}"} if access.key else {},
        verify=_verifying(access.ca_file) if parsed.scheme == "https" else True,
    )


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
        parameters: dict[str, Any] = {
            member.name.removesuffix("_ns"): getattr(where, member.name)
            for member in fields(where)
            if getattr(where, member.name) is not None
        }
        parameters["limit"] = limit
        if cursor is not None:
            parameters["cursor"] = cursor
        page = self._decoded(self._get("/v1/runs", parameters), _RunPage)
        return Page(page.runs, page.next_cursor)

    def replay(self, run_id: str) -> Iterator[ReplayEvent]:
        try:
            with self._client.stream("GET", f"/v1/runs/{quote(run_id, safe='')}/replay") as response:
                if not response.is_success:
                    response.read()
                    raise self._refused(response)
                for text in response.iter_lines():
                    yield self._decoded(text.encode(), ReplayEvent)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def new_steps(self, after: Position | None, *, limit: int) -> list[StepRow]:
        parameters: dict[str, Any] = {"limit": limit} | ({} if after is None else {"after": str(after)})
        return self._decoded(self._get("/v1/steps", parameters), _StepPage).steps

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

    def view_position(self) -> Position | None:
        return self._position("view_position")

    def journal_position(self) -> Position | None:
        """The last position that was acknowledged."""
        return self._position("journal_position")

    def _position(self, name: str) -> Position | None:
        try:
            # Not ready is 503 and says how far it is all the same.
            response = self._response("/readyz", {})
            readiness: dict[str, Any] = msgspec.json.decode(response.content)
            if list(readiness) == ["ready"]:  # All that a stranger is told.
                self._get("/v1/runs", {"limit": 1})
            position = readiness[name]
            return None if position is None else Position.parse(position)
        except (msgspec.DecodeError, KeyError, TypeError, BadQuery) as error:
            raise self._not_ours(error) from error

    def wait_for(self, position: Position) -> None:
        deadline = time.monotonic() + _CATCH_UP_SECONDS
        while True:
            # A read waits 10 s at most and then says 504 (503 when too many wait): the view is only behind.
            response = self._response("/v1/runs", {"limit": 1, "min_position": str(position)})
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

    def _response(self, path: str, parameters: dict[str, Any]) -> httpx.Response:
        try:
            return self._client.get(path, params=parameters)
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


# Who can read the folder can read everything in it.
_LOCAL: Final = Principal(kind="local", name="local", tenant=DEFAULT_TENANT, role=None, permissions=ALL_PERMISSIONS)


class LocalRecord:
    """The record in a data folder that this process has opened itself."""

    def __init__(self, ledger: Ledger, limits: SqlLimits | None = None) -> None:
        self._ledger = ledger
        self._limits = limits or SqlLimits()

    def runs(self, where: RunFilter, *, limit: int, cursor: str | None) -> Page[RunRow]:
        return self._ledger.reader.runs(DEFAULT_TENANT, where, limit=limit, cursor=cursor)

    def replay(self, run_id: str) -> Iterator[ReplayEvent]:
        return self._ledger.reader.replay(DEFAULT_TENANT, run_id)

    def new_steps(self, after: Position | None, *, limit: int) -> list[StepRow]:
        reader = self._ledger.reader
        return new_steps(lambda start, rows: reader.new_steps(DEFAULT_TENANT, start, limit=rows), after, limit=limit)

    def sql(self, text: str, form: ResultForm, limit: int | None) -> SqlResult:
        view = View(self._ledger.reader, self._ledger.waiter, ReadLimits(sql=self._limits)).of(_LOCAL)
        try:
            limit = min(ROWS_DEFAULT, self._limits.rows) if limit is None else limit
            if not 1 <= limit <= self._limits.rows:
                raise BadQuery("limit", f"--limit is from 1 to {self._limits.rows} (sql_rows_max), not {limit}")
            answer = view.statement(text, form, limit).answer()
        except (SqlFailed, SqlNotAllowed) as error:
            at = f" (at character {error.position})" if error.position is not None else ""
            raise FrontDoorError(f"{error}{at}", SQL_HINT) from error
        except SqlError as error:
            raise FrontDoorError(str(error), SQL_HINT) from error
        return SqlResult(body=answer.body, truncated=answer.truncated, withheld=None)

    def view_position(self) -> Position | None:
        return self._ledger.reader.status().position

    def wait_for(self, position: Position) -> None:
        if not self._ledger.waiter.wait_for(position, _CATCH_UP_SECONDS):
            raise FrontDoorError(f"the view did not reach {position}", "try `spanledger rebuild`")


@contextmanager
def open_ledger(settings: Settings) -> Generator[Ledger]:
    """The data folder of a server that is not running, for as long as the context lasts."""
    ledger = Ledger.open(
        settings.data,
        registry=None,
        view_memory_mb=settings.view_memory_mb,
        prices=read_prices(settings.prices),
    )
    try:
        yield ledger
    finally:
        ledger.close(_CLOSE_SECONDS)


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
        record = LocalRecord(ledger, sql_limits_of(settings))
        last = ledger.waiter.readiness()["journal_position"]
        if last is not None:
            record.wait_for(Position.parse(str(last)))
        yield record
