"""What a request leaves behind: one record of who read what, durable before the first byte of the answer.

    route declares its kind of access -> readers note what they show -> [record, fsync] -> answer
                                                                         cannot be recorded -> 503, nothing was shown

Strategy: a route cannot forget it, because it does nothing for it. `query.guard` asks `Trail.keep` at the moment when an
answer would begin, whatever route made it; what was shown has been noted below the routes, by the readers of
`query.view`. Metadata is not recorded: it must be there to look at when nothing can be written any more.

Refused attempts are counted (`access.refusals`). One that comes alone is written before it is answered; of many within a
second the others are written at its end, so that strangers cannot make us write as often as they knock.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final
from urllib.parse import parse_qsl

import structlog

from access.permissions import Permission, Principal
from access.refusals import Counted, Refusal, Refusals
from store.access_records import CONTENT_IDS_MAX, OTHER_RUN, AccessRecord, digest_of_filter, digest_of_ids
from store.errors import BadQuery, StoreError
from store.record import DEFAULT_TENANT, Position

WITHHOLD_HEADER: Final = "spanledger-withhold"
PURPOSE_HEADER: Final = "spanledger-purpose"
PURPOSE_BYTES_MAX: Final = 512  # A ticket and a sentence. It is stored with each record.
ALONE_SECONDS: Final = 1.0  # Between two refusals of which each is written before it is answered.
RECORD_SECONDS_MAX: Final = 10.0  # A disk that takes longer does not work; the reader is told instead of kept waiting.
DOOR: Final = "api"
_CONTENT: Final = (Permission.READ_CONTENT, Permission.READ_REASONING, Permission.READ_RAW)

_log: Final = structlog.stdlib.get_logger(__name__)

Log = Callable[[str, Sequence[AccessRecord]], "Future[Position]"]
"""Makes records of one tenant durable, as `store.ledger.Ledger.record` does."""
Redact = Callable[[str, str], str]
"""A text of a tenant as it may be stored. Raises nothing: what cannot be redacted is not stored."""


class Kind(StrEnum):
    """What a call is for the record. All but `METADATA` leave one each, `CONTENT` where content was shown."""

    METADATA = "metadata"
    CONTENT = "content"
    REPLAY = "replay"
    EXPORT = "export"
    STATEMENT = "statement"
    ACCESS = "access"


_ACTIONS: Final = {
    Kind.CONTENT: "read",
    Kind.REPLAY: "replay",
    Kind.EXPORT: "export",
    Kind.STATEMENT: "statement",
    Kind.ACCESS: "access",
}
# What is recorded although it failed: what was tried is worth knowing.
_TRIED: Final = frozenset({Kind.EXPORT, Kind.STATEMENT})
# Where what may be content is null for who may not see it, and the rest is metadata.
_METADATA_WITHOUT_CONTENT: Final = frozenset({Kind.REPLAY, Kind.STATEMENT})


class Unrecordable(Exception):
    """What was to be shown cannot be recorded, so it is not shown. Retryable."""


@dataclass(slots=True)
class Note:
    """What one request shows, as the readers gather it."""

    run_id: str | None = None
    other_run_id: str | None = None
    """The run that it is compared with."""
    step_id: str | None = None
    rows: int = 0
    content_ids: set[str] = field(default_factory=set[str])
    shows_content: bool | None = None
    """None: no reader was asked, so it is not known."""
    statement_digest: str | None = None

    def saw(self, *, content: bool, ids: Collection[str] = ()) -> None:
        """One more row is shown; `content`: with something in it that is no metadata. `ids`: of that content."""
        self.rows += 1
        self.shows_content = content or bool(self.shows_content)
        if content:
            self.content_ids.update(ids)

    def states(self, statement: str) -> None:
        """A statement is asked, which is noted by its digest: there may be anything in its text."""
        self.statement_digest = sha256(statement.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, as far as it is recorded."""

    call: str | None
    peer: str | None = None
    query: Sequence[tuple[str, str]] = ()
    purpose: str | None = None
    door: str = DOOR


def record_of(
    who: Principal, kind: Kind, asked: Asked, note: Note, *, at_ns: int, failed: bool = False
) -> AccessRecord:
    """The record of a request that was let in. Its purpose must be redacted already."""
    ids = note.content_ids
    return AccessRecord(
        at_ns=at_ns,
        who=who.name,
        key_prefix=who.key_prefix,
        role=who.role,
        peer=asked.peer,
        door=asked.door,
        action=_ACTIONS[kind],
        outcome="failed" if failed else "allowed",
        call=asked.call,
        run_id=note.run_id,
        step_id=note.step_id,
        content_ids=tuple(sorted(ids)) if len(ids) <= CONTENT_IDS_MAX else (),
        content_count=len(ids),
        content_digest=digest_of_ids(ids) if len(ids) > CONTENT_IDS_MAX else None,
        rows=note.rows,
        statement_digest=note.statement_digest,
        filters=tuple(sorted({name for name, _ in asked.query})),
        filter_digest=digest_of_filter(asked.query) if asked.query else None,
        purpose=asked.purpose,
        detail={OTHER_RUN: note.other_run_id} if note.other_run_id else {},
    )


def must_be_recorded(who: Principal, kind: Kind, note: Note, *, ok: bool) -> bool | None:
    """Whether a request leaves a record: True: or it is not answered; False: if it can; None: it leaves none."""
    if kind is Kind.METADATA or not (ok or kind in _TRIED):
        return None
    may_see = any(who.may(one) for one in _CONTENT)
    if kind is Kind.CONTENT:
        return True if may_see and note.shows_content is not False else None
    # What happened without what was said is metadata; that somebody asked for it so is worth a line all the same.
    return may_see or kind not in _METADATA_WITHOUT_CONTENT


def without_content(who: Principal, values: Sequence[bytes] = (b"content",)) -> Principal:
    """The caller as one who sees metadata alone, as it asked to be. Raises BadQuery for another wish than that.

    So that whoever may see content can look while nothing can be recorded.
    """
    if list(values) != [b"content"]:
        raise BadQuery(WITHHOLD_HEADER, "is `content` or is not sent")
    return replace(who, permissions=who.permissions.difference(_CONTENT))


def purpose_of(values: Sequence[bytes]) -> str | None:
    """What the header says. Raises BadQuery, which repeats nothing of it."""
    if not values:
        return None
    if len(values) > 1 or len(values[0]) > PURPOSE_BYTES_MAX:
        raise BadQuery(PURPOSE_HEADER, f"is one header of at most {PURPOSE_BYTES_MAX} bytes")
    try:
        text = values[0].decode().strip()
    except UnicodeDecodeError as error:
        raise BadQuery(PURPOSE_HEADER, "is not UTF-8") from error
    if not text.isprintable():
        raise BadQuery(PURPOSE_HEADER, "has characters in it that cannot be printed")
    return text or None


def refusals_by_tenant(counted: Sequence[Counted]) -> dict[str, list[tuple[Counted, AccessRecord]]]:
    """The records of refused attempts. Those of nobody who is known are the default tenant's."""
    found: dict[str, list[tuple[Counted, AccessRecord]]] = {}
    for one in counted:
        refusal = one.refusal
        record = AccessRecord(
            at_ns=one.at_ns,
            who=refusal.who,
            key_prefix=refusal.key_prefix,
            role=refusal.role,
            peer=refusal.peer,
            door=refusal.door,
            action="enter",
            outcome="refused",
            reason=refusal.reason,
            call=refusal.call,
            count=one.count,
        )
        found.setdefault(refusal.tenant or DEFAULT_TENANT, []).append((one, record))
    return found


class Trail:
    """Records what is read through one process's API. Thread-safe but for `keep` and `refused`, which are the loop's."""

    def __init__(
        self,
        log: Log,
        refusals: Refusals,
        *,
        redact: Redact,
        clock_ns: Callable[[], int] = time.time_ns,
        seconds_max: float = RECORD_SECONDS_MAX,
    ) -> None:
        self._log = log
        self.refusals = refusals
        self._redact = redact
        self._clock_ns = clock_ns
        self._seconds_max = seconds_max
        self._alone_from = float("-inf")
        self._unwritten = False

    async def keep(self, who: Principal, kind: Kind, asked: Asked, note: Note, *, ok: bool) -> None:
        """Record a request whose answer is about to begin, if it is to be. Raises Unrecordable."""
        must = must_be_recorded(who, kind, note, ok=ok)
        if must is None:
            return
        if asked.purpose is not None:
            asked = replace(asked, purpose=await asyncio.to_thread(self._redact, who.tenant, asked.purpose))
        record = record_of(who, kind, asked, note, at_ns=self._clock_ns(), failed=not ok)
        try:
            await _durable(self._log(who.tenant, [record]), self._seconds_max)
        except (StoreError, TimeoutError) as error:
            if not must:
                _log.warning("access_unrecorded", cause=str(error), action=record.action, who=who.name)
                return
            cause = str(error) or f"the disk did not take it within {self._seconds_max:g} s"
            raise Unrecordable(cause) from error

    async def refused(self, refusal: Refusal) -> None:
        """Count a refused attempt, and write it at once where it comes alone."""
        self.refusals.note(refusal)
        now = time.monotonic()
        if now - self._alone_from < ALONE_SECONDS:
            return
        self._alone_from = now
        for done in self.write_refusals():
            try:
                await _durable(done, self._seconds_max)
            except (StoreError, TimeoutError):
                return  # It is counted still, and refused all the same.

    def write_refusals(self) -> "list[Future[Position]]":
        """Have the refusals that were counted written. Where they cannot be they stay counted."""
        written: list[Future[Position]] = []
        for tenant, given in refusals_by_tenant(self.refusals.take()).items():
            counted = [one for one, _ in given]
            try:
                done = self._log(tenant, [record for _, record in given])
            except StoreError as error:
                self._keep_counted(counted, error)
                continue
            done.add_done_callback(lambda found, counted=counted: self._heard(counted, found))
            written.append(done)
        return written

    def _heard(self, counted: list[Counted], done: "Future[Position]") -> None:
        error = done.exception()
        if error is not None:
            self._keep_counted(counted, error)
        else:
            self._unwritten = False

    def _keep_counted(self, counted: list[Counted], error: BaseException) -> None:
        self.refusals.put(counted)
        if not self._unwritten:  # Once: it is tried again every second.
            _log.error(
                "refusals_unrecorded", cause=str(error), effect="they are counted on, and written when they can be"
            )
        self._unwritten = True


async def _durable(done: "Future[Position]", seconds_max: float) -> None:
    """Wait for a commit without holding the loop. Raises what the journal raises, TimeoutError."""
    await asyncio.wait_for(_waiting(asyncio.wrap_future(done)), seconds_max)


async def _waiting(done: Awaitable[Position]) -> None:
    await done


def asked_of(scope: Mapping[str, Any]) -> Asked:
    """What an HTTP request asks, by its route's pattern, with its purpose as it was sent."""
    query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    return Asked(call=call_of(scope), peer=peer_of(scope), query=query, purpose=scope.get("purpose"))


def call_of(scope: Mapping[str, Any]) -> str | None:
    """The call by its pattern: what stands in a path is not repeated here. None where no route was found."""
    route = getattr(scope.get("route"), "path", None)
    return f"{scope['method']} {route}" if route else None


def peer_of(scope: Mapping[str, Any]) -> str | None:
    """The address that a request came from; what a proxy says of others is not read."""
    client = scope.get("client")
    return client[0] if client else None
