"""Answers from the view. Every statement binds the tenant; lists are read by keyset, never by offset."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import msgspec

from store.contract import (
    PLACE_AT_END,
    AccessFilter,
    AgentFilter,
    EvaluationFilter,
    EventFilter,
    FiguresFilter,
    MetricFilter,
    Moment,
    Page,
    PromptFilter,
    Reader,
    RunFilter,
    StepFilter,
    StepPlace,
    StepsBehind,
    ToolFilter,
    ViewStatus,
)
from store.duckdb import dimensions
from store.duckdb.asking import DuckDbAsking
from store.duckdb.current import current_steps
from store.duckdb.cursors import keyset, make_cursor, paged, record_place, step_place
from store.duckdb.documented import documented_views
from store.duckdb.engine import Engine
from store.duckdb.figures import figures
from store.duckdb.moments import last_not_later, moment, windowed
from store.duckdb.past import Pasts, Record
from store.duckdb.present import (
    attributes_of,
    content_of,
    inline_content,
    is_alive,
    pieces_in,
    present_access,
    present_call,
    present_decision,
    present_evaluation,
    present_event,
    present_point,
    present_run,
    present_step,
    span_events_of,
)
from store.duckdb.rows import span_of
from store.duckdb.run_steps import Placed, RunSteps, StepNames
from store.duckdb.statements import sql
from store.duckdb.telling import Telling
from store.duckdb.texts import texts_of
from store.duckdb.writer import DuckDbWriter
from store.errors import BadQuery, NotFound
from store.model.conversation import Message
from store.model.dialect import NORMALISER_VERSION
from store.model.ids import split_step_id
from store.model.order import PlaceInTrace
from store.model.prices import Prices
from store.model.replay import Times
from store.model.rows import (
    AccessRow,
    AgentRow,
    ContentRow,
    DecisionRow,
    EvaluationRow,
    EventRow,
    Fidelity,
    MessageRow,
    MetricPointRow,
    PromptRow,
    ReplayEvent,
    RunRow,
    StateRow,
    StepDetail,
    StepRow,
    ToolCallRow,
    ToolRow,
)
from store.model.runs import CLOCK_SKEW_NS, IDLE_NS
from store.model.times import rfc3339
from store.otlp.redaction import redactions
from store.otlp.truncation import truncations
from store.questions import Asking, DocumentedView, SqlQuestion
from store.record import Position

REPLAYED_EVALUATIONS_MAX = 100_000  # In one run: more are for the list, which has pages.
_BEFORE_ALL = -1


class DuckDbReader:
    """See `store.contract.Reader`. Any thread's."""

    def __init__(
        self,
        engine: Engine,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
        record: Record | None = None,
        prices: Prices | None = None,
    ) -> None:
        """`record`: the journal that the view is of, for what it was earlier; `prices`: those that the view was made with."""
        self._engine = engine
        self._pasts = None
        if record is not None:
            self._pasts = Pasts(engine, record, _answering, prices=prices, clock_ns=clock_ns)
        self._writer = DuckDbWriter(engine)
        self._clock_ns = clock_ns

    def status(self) -> ViewStatus:
        counts = self._engine.rows(sql("select_counts"))[0]
        quarantined = counts.pop("quarantined_frames")
        for row in self._engine.rows(sql("select_status_counts"), self._now()):
            counts[f"runs.{row['status_now']}"] = row["runs"]
        return ViewStatus(
            position=self._writer.position(),
            quarantined_frames=quarantined,
            normaliser_version=NORMALISER_VERSION,
            counts=counts,
        )

    def runs(self, tenant: str, where: RunFilter, *, limit: int, cursor: str | None) -> Page[RunRow]:
        now = self._now()
        parameters = {
            "tenant": tenant, "agent": where.agent, "status": where.status, "conversation": where.conversation,
            "service": where.service, "trace_id": where.trace_id, "tool": where.tool, "model": where.model,
            "user": where.user,
            "since_ns": where.since_ns, "until_ns": where.until_ns, "q": where.q, **keyset(cursor), "limit": limit + 1,
        }  # fmt: skip
        rows = self._engine.rows(sql("select_runs"), parameters | now)
        shown = {row.run_id: row for row in self._present_runs(tenant, rows, now["now_ns"])}
        return paged(rows, limit, lambda row: shown[row["run_id"]], "start_ns", "run_id")

    def run(self, tenant: str, run_id: str) -> RunRow:
        return self._present_runs(tenant, [self._run_row(tenant, run_id)], self._clock_ns())[0]

    def _present_runs(self, tenant: str, rows: list[dict[str, Any]], now_ns: int) -> list[RunRow]:
        """Runs as rows; those in progress with what they are at."""
        shown = [present_run(row, now_ns) for row in rows]
        going_on = [row for row, run in zip(rows, shown, strict=True) if run.status == "running"]
        at = current_steps(self._engine, tenant, going_on, now_ns)
        return [replace(run, current_step=at[run.run_id]) if run.run_id in at else run for run in shown]

    def steps(self, tenant: str, run_id: str, *, limit: int, cursor: str | None, inline: bool) -> Page[StepRow]:
        row = self._run_row(tenant, run_id)
        steps = RunSteps.of(self._engine, tenant, row)
        found = steps.page(_place_in(steps, cursor), limit + 1)
        shown = found[:limit]
        before = steps.number_of(shown[0]) if shown and cursor else 0
        inlined: set[str] = set()
        rows = self._present(row, steps, shown, before=before, inlined=inlined if inline else None)
        last = shown[-1] if len(found) > limit else None
        cursor = make_cursor(steps.traces[last.trace].trace_id, *last.at) if last else None
        return Page(rows, cursor, frozenset(inlined))

    def step(self, tenant: str, step_id: str) -> StepDetail:
        ids = split_step_id(step_id)
        runs = ids and self._engine.rows(sql("select_run"), {"tenant": tenant, "id": ids[0]})
        if not (ids and runs):
            raise NotFound(f"there is no step {step_id!r}")
        steps = RunSteps.of(self._engine, tenant, runs[0])
        number = next((number for number, one in enumerate(steps.traces) if one.trace_id == ids[0]), None)
        rows = [] if number is None else self._engine.rows(
            sql("select_step_bodies"), steps.asked(number) | {"span_id": ids[1]}
        )  # fmt: skip
        if number is None or not rows:
            raise NotFound(f"there is no step {step_id!r}")
        row = rows[0]
        place = steps.place_of(number, row["span_id"], row["start_ns"])
        [shown] = self._present(runs[0], steps, [place], before=steps.number_of(place))
        texts = self._texts(tenant, pieces_in(row))
        extra = msgspec.json.decode(row["extra"]) if row["extra"] else {}
        resource = msgspec.json.decode(texts.get(row["resource"], '{"attributes":{}}'))
        extra |= {f"resource_{name}": value for name, value in resource.items() if name != "attributes"}
        attributes, scope = attributes_of(row, texts), msgspec.json.decode(texts.get(row["scope"], '{"attributes":{}}'))
        return StepDetail(
            step=shown,
            attributes=attributes,
            resource=resource["attributes"],
            scope=scope,
            events=span_events_of(row, texts),
            links=msgspec.json.decode(row["links"]) if row["links"] else [],
            span={
                "kind": row["span_kind"], "status_code": row["status_code"], "status_message": row["status_message"],
                "start_time_unix_nano": row["start_ns"], "end_time_unix_nano": row["end_ns"],
                "digest": row["digest"], "ordinal": row["ordinal"], **extra,
            },
            truncations=[
                *truncations(attributes), *truncations(resource["attributes"], "resource/"),
                *truncations(scope["attributes"], "scope/"),
            ],
            redactions=[
                *redactions(attributes), *redactions(resource["attributes"], "resource/"),
                *redactions(scope["attributes"], "scope/"),
            ],
        )  # fmt: skip

    def tool_calls(
        self, tenant: str, run_id: str, *, limit: int | None = None, after: str | None = None
    ) -> list[ToolCallRow]:
        row = self._run_row(tenant, run_id)
        run = {"tenant": tenant, "run_id": row["run_id"]}
        behind = _BEFORE_ALL
        if after is not None:
            places = self._engine.rows(sql("select_tool_call_place"), run | {"tool_call_key": after})
            if not places:
                raise BadQuery("cursor", f"{after!r} names no tool call of this run; start again without one")
            behind = places[0]["position"]
        calls = self._engine.rows(sql("select_tool_calls"), run | {"behind": behind, "limit": limit})
        texts = self._texts(tenant, {call[name] for call in calls for name in ("arguments", "result") if call[name]})
        alive = is_alive(row, self._clock_ns())
        return [present_call(call, texts, is_alive=alive) for call in calls]

    def decisions(self, tenant: str, run_id: str) -> list[DecisionRow]:
        run = self._run_row(tenant, run_id)
        return [decision for decision, _ in self._decisions(tenant, run["run_id"])]

    def messages(self, tenant: str, run_id: str) -> Iterator[MessageRow]:
        return map(_message_row, count(), self._telling(tenant, self._run_row(tenant, run_id)).messages())

    def replay(
        self, tenant: str, run_id: str, *, from_step: int | None = None, until_step: int | None = None
    ) -> Iterator[ReplayEvent]:
        row = self._run_row(tenant, run_id)
        telling = self._telling(tenant, row)
        # The first step's moment has what came before it, too.
        first = moment(telling.steps, from_step, "from_step").step.key.start_ns if from_step else None
        last = None if until_step is None else moment(telling.steps, until_step, "until_step").until_ns
        events, fidelity = self._replayed(tenant, row, telling)
        return _with_fidelity(windowed(events, first, last), fidelity)

    def state(self, tenant: str, run_id: str, seq: int) -> StateRow:
        row = self._run_row(tenant, run_id)
        telling = self._telling(tenant, row)
        at = moment(telling.steps, seq, "step")
        [step] = self._present(row, telling.steps, [at.step], before=seq)
        call, content, ids = step, dict[str, Any](), set[str]()
        if at.model_call is not None:  # What it is told by its place in the run is not needed of it.
            [call] = self._present(row, telling.steps, [at.model_call], before=0, inlined=ids)
            content = call.content
        is_itself = call.step_id == step.step_id
        events, fidelity = self._replayed(tenant, row, telling)
        last = last_not_later(events, at.step.key.start_ns)
        return StateRow(
            run_id=row["run_id"],
            seq=seq,
            at=step.started_at,
            step=step,
            model_step_id=None if at.model_call is None else call.step_id,
            messages=[*content.get("system_instructions", []), *content.get("input_messages", [])],
            said=[] if is_itself else content.get("output_messages", []),
            content_ids=sorted(ids),
            state={} if last is None else last.state,
            fidelity=fidelity,
        )

    def _replayed(self, tenant: str, row: dict[str, Any], telling: Telling) -> tuple[Iterator[ReplayEvent], Fidelity]:
        journal_id = self._journal_id()
        run, decisions = present_run(row, self._clock_ns()), self._decisions(tenant, row["run_id"])
        of_it = EvaluationFilter(run=row["run_id"])
        evaluations = self._evaluations(tenant, of_it, limit=REPLAYED_EVALUATIONS_MAX, cursor=None)
        events = telling.replay(
            run,
            decisions,
            [(present_evaluation(one, journal_id=journal_id), one["time_ns"]) for one in reversed(evaluations)],
            is_alive=is_alive(row, self._clock_ns()),
        )
        return events, _fidelity(run, [decision for decision, _ in decisions])

    def as_of(self, tenant: str, run_id: str, moment: Moment) -> "tuple[Reader, str]":
        if self._pasts is None:
            raise BadQuery("as_of", "cannot be answered here: there is no journal beside this view")
        return self._pasts.of(tenant, run_id, moment)

    def events(self, tenant: str, where: EventFilter, *, limit: int, cursor: str | None) -> Page[EventRow]:
        rows = self._engine.rows(sql("select_events"), {
            "tenant": tenant, "trace_id": where.trace_id, "span_id": where.span_id, "event_name": where.event_name,
            "service": where.service, "since_ns": where.since_ns, "until_ns": where.until_ns, **keyset(cursor),
            "limit": limit + 1,
        })  # fmt: skip
        texts = self._texts(tenant, {piece for row in rows for piece in pieces_in(row)})
        runs = self._runs_of(tenant, {row["trace_id"] for row in rows if row["trace_id"]})
        journal_id = self._journal_id()
        return paged(
            rows,
            limit,
            lambda row: present_event(row, texts, journal_id=journal_id, run_id=runs.get(row["trace_id"])),
            "at_ns",
            "event_id",
        )

    def metric_points(
        self, tenant: str, where: MetricFilter, *, limit: int, cursor: str | None
    ) -> Page[MetricPointRow]:
        rows = self._engine.rows(sql("select_metric_points"), {
            "tenant": tenant, "metric": where.metric, "service": where.service, "since_ns": where.since_ns,
            "until_ns": where.until_ns, **keyset(cursor), "limit": limit + 1,
        })  # fmt: skip
        texts = self._texts(tenant, {row[name] for row in rows for name in ("resource", "scope")})
        journal_id = self._journal_id()
        return paged(
            rows, limit, lambda row: present_point(row, texts, journal_id=journal_id), "time_ns", "point_id"
        )  # fmt: skip

    def evaluations(
        self, tenant: str, where: EvaluationFilter, *, limit: int, cursor: str | None
    ) -> Page[EvaluationRow]:
        rows = self._evaluations(tenant, where, limit=limit + 1, cursor=cursor)
        journal_id = self._journal_id()
        return paged(
            rows, limit, lambda row: present_evaluation(row, journal_id=journal_id), "time_ns", "evaluation_id"
        )

    def _evaluations(
        self, tenant: str, where: EvaluationFilter, *, limit: int, cursor: str | None
    ) -> list[dict[str, Any]]:
        return self._engine.rows(sql("select_evaluations"), {
            "tenant": tenant, "run": where.run, "trace_id": where.trace_id, "span_id": where.span_id,
            "name": where.name, "evaluator": where.evaluator, "service": where.service, "since_ns": where.since_ns,
            "until_ns": where.until_ns, **keyset(cursor), "limit": limit,
        })  # fmt: skip

    def agents(self, tenant: str, where: AgentFilter, *, limit: int, cursor: str | None) -> Page[AgentRow]:
        return dimensions.agents(self._engine, tenant, where, limit=limit, cursor=cursor)

    def tools(self, tenant: str, where: ToolFilter, *, limit: int, cursor: str | None) -> Page[ToolRow]:
        return dimensions.tools(self._engine, tenant, where, limit=limit, cursor=cursor)

    def prompts(self, tenant: str, where: PromptFilter, *, limit: int, cursor: str | None) -> Page[PromptRow]:
        return dimensions.prompts(self._engine, tenant, where, limit=limit, cursor=cursor)

    def accesses(self, tenant: str, where: AccessFilter, *, limit: int, cursor: str | None) -> Page[AccessRow]:
        rows = self._engine.rows(sql("select_access_records"), {
            "tenant": tenant, "who": where.who, "action": where.action, "run": where.run, "outcome": where.outcome,
            "since_ns": where.since_ns, "until_ns": where.until_ns, **record_place(cursor), "limit": limit + 1,
        })  # fmt: skip
        journal_id = self._journal_id()
        return paged(rows, limit, lambda row: present_access(row, journal_id=journal_id), "sequence", "ordinal")

    def content(self, tenant: str, content_id: str) -> ContentRow:
        rows = self._engine.rows(sql("select_contents"), {"tenant": tenant, "ids": [content_id]})
        if not rows:
            raise NotFound(f"there is no content {content_id!r}")
        text = rows[0]["text"]
        return ContentRow(
            content_id=content_id, media_type=rows[0]["media_type"], bytes=len(text.encode()), text=text
        )  # fmt: skip

    def new_steps(self, tenant: str, after: Position | None, *, limit: int) -> list[StepRow]:
        rows = self._engine.rows(
            sql("select_new_steps"), {"tenant": tenant, "sequence": after.sequence if after else 0, "limit": limit}
        )
        return self._versions(tenant, rows)

    def steps_behind(self, tenant: str, where: StepFilter, *, behind: StepPlace, until: int, limit: int) -> StepsBehind:
        rows = self._engine.rows(sql("select_steps_behind"), {
            "tenant": tenant, "sequence": behind.sequence, "ordinal": behind.ordinal, "until": until, "agent": where.agent,
            "tool": where.tool, "model": where.model, "kind": where.kind, "service": where.service, "run": where.run,
            "limit": limit,
        })  # fmt: skip
        places = [StepPlace(row["sequence"], row["ordinal"]) for row in rows]
        through = places[-1] if len(rows) == limit else max(behind, StepPlace(until, PLACE_AT_END))
        found = zip(places, self._versions(tenant, rows), strict=True)
        # What a step came to is known with its run's tool calls, and stands in no column.
        return StepsBehind([one for one in found if where.outcome in (None, one[1].outcome)], through)

    def figures(self, tenant: str, where: FiguresFilter, *, limit: int) -> list[dict[str, Any]]:
        return figures(self._engine, tenant, where, self._now(), limit=limit)

    def _versions(self, tenant: str, rows: list[dict[str, Any]]) -> list[StepRow]:
        """Span versions as steps that nothing else was looked at for."""
        spans = [span_of(row) for row in rows]
        runs = self._runs_of(tenant, {span.trace_id for span in spans})
        outcomes = self._outcomes(tenant, runs.values())
        journal_id = self._journal_id()
        return [
            present_step(
                span, run_id=runs.get(span.trace_id, ""), seq=0, journal_id=journal_id,
                content=dict(content_of(span, [])), outcomes=outcomes, events=[], mcp_servers={},
            )
            for span in spans
        ]  # fmt: skip

    def sql_views(self) -> Mapping[str, DocumentedView]:
        return documented_views()

    def ask(self, tenant: str, question: SqlQuestion) -> Asking:
        return DuckDbAsking(self._engine, tenant, question, self._clock_ns)

    def _present(
        self,
        run: dict[str, Any],
        steps: RunSteps,
        shown: list[Placed],
        *,
        before: int,
        inlined: set[str] | None = None,
    ) -> list[StepRow]:
        """Steps as rows; with `inlined` their content stands in them, and its ids are added to that."""
        journal_id = self._journal_id()
        outcomes, alive = self._outcomes(steps.tenant, [run["run_id"]]), is_alive(run, self._clock_ns())
        spans = steps.spans(shown)
        speaking = steps.speaking_events(
            [StepNames.of(span.trace_id, span.span_id, span.kind, span.response_id) for span in spans]
        )
        events = [speaking.get((span.trace_id, span.span_id), []) for span in spans]
        clients: dict[int, list[str]] = {one.trace: [] for one in shown}
        for one in shown:
            if one.key.kind == "mcp_client":
                clients[one.trace].append(one.key.span_id)
        servers = {number: steps.mcp_servers(number, asked) for number, asked in clients.items()}
        contents = [content_of(span, said) for span, said in zip(spans, events, strict=True)]
        texts: dict[str, str] = {}
        if inlined is not None:
            inlined |= {piece for one in contents for ids in one.values() for piece in ids}
            texts = self._texts(steps.tenant, inlined)
        return [
            present_step(
                span, run_id=run["run_id"], seq=before + offset, journal_id=journal_id, outcomes=outcomes, is_alive=alive,
                content=dict(content) if inlined is None else inline_content(content, texts),
                events=said, mcp_servers=servers[one.trace],
            )
            for offset, (one, span, said, content) in enumerate(zip(shown, spans, events, contents, strict=True))
        ]  # fmt: skip

    def _telling(self, tenant: str, row: dict[str, Any]) -> Telling:
        position = self._writer.position()  # Not before the row: what the row says is in the view at it.
        steps = RunSteps.of(self._engine, tenant, row, until=position.sequence if position else 0)
        return Telling(self._engine, tenant, row, steps)

    def _now(self) -> dict[str, int]:
        return {"now_ns": self._clock_ns(), "skew_ns": CLOCK_SKEW_NS, "idle_ns": IDLE_NS}

    def _journal_id(self) -> str:
        position = self._writer.position()
        return position.journal_id if position else ""

    def _run_row(self, tenant: str, run_id: str) -> dict[str, Any]:
        rows = self._engine.rows(sql("select_run"), {"tenant": tenant, "id": run_id})
        if not rows:
            raise NotFound(f"there is no run {run_id!r}")
        return rows[0]

    def _runs_of(self, tenant: str, trace_ids: set[str]) -> dict[str, str]:
        if not trace_ids:
            return {}
        rows = self._engine.rows(sql("select_runs_of_traces"), {"tenant": tenant, "trace_ids": sorted(trace_ids)})
        return {row["trace_id"]: row["run_id"] for row in rows}

    def _texts(self, tenant: str, ids: Iterable[str]) -> dict[str, str]:
        return texts_of(self._engine, tenant, ids)

    def _outcomes(self, tenant: str, run_ids: Iterable[str]) -> dict[str, str]:
        """How steps of some runs ended, by step id, where it is not as they say themselves."""
        wanted = sorted(set(run_ids))
        rows = self._engine.rows(sql("select_step_outcomes"), {"tenant": tenant, "run_ids": wanted}) if wanted else []
        found: dict[str, str] = {}
        for row in rows:
            found |= msgspec.json.decode(row["step_outcomes"])
        return found

    def _decisions(self, tenant: str, run_id: str) -> list[tuple[DecisionRow, Times]]:
        rows = self._engine.rows(sql("select_decisions"), {"tenant": tenant, "run_id": run_id})
        texts = self._texts(tenant, {row["reason"] for row in rows if row["reason"]})
        return [
            (present_decision(row, texts), Times(row["requested_ns"], 0, row["decided_ns"])) for row in rows
        ]  # fmt: skip


def _place_in(steps: RunSteps, cursor: str | None) -> tuple[int, PlaceInTrace] | None:
    """Where a cursor points. Raises BadQuery for one of another run."""
    place = step_place(cursor)
    if place is None:
        return None
    trace_id, at = place
    number = next((number for number, one in enumerate(steps.traces) if one.trace_id == trace_id), None)
    if number is None:
        raise BadQuery("cursor", f"{cursor!r} is not a cursor of this run's steps; start again without one")
    return number, at


def _answering(engine: Engine, clock_ns: Callable[[], int]) -> Reader:
    return DuckDbReader(engine, clock_ns=clock_ns)


def _fidelity(run: RunRow, decisions: list[DecisionRow]) -> Fidelity:
    return Fidelity(
        complete=run.completeness.state == "complete",
        completeness=run.completeness,
        inferred=sum(1 for one in decisions if one.evidence == "inferred"),
        unpriced_calls=run.unpriced_calls,
        normaliser_version=NORMALISER_VERSION,
    )


def _with_fidelity(events: Iterator[ReplayEvent], fidelity: Fidelity) -> Iterator[ReplayEvent]:
    for first in events:
        yield replace(first, data=first.data | {"fidelity": msgspec.to_builtins(fidelity)})
        break
    yield from events


def _message_row(ordinal: int, message: Message) -> MessageRow:
    return MessageRow(
        ordinal=ordinal,
        at=rfc3339(message.at_ns),
        step_id=message.step_id,
        direction=message.direction,  # pyright: ignore[reportArgumentType] - one of the three by construction
        role=message.role,
        parts=message.parts,
        finish_reason=message.finish_reason,
        content_id=message.content_id,
        step_truncated=message.step_truncated,
        step_redacted=message.step_redacted,
    )
