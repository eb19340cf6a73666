"""Answers from the view. Every statement binds the tenant; lists are read by keyset, never by offset."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from store.contract import (
    AgentFilter,
    EvaluationFilter,
    EventFilter,
    MetricFilter,
    Page,
    PromptFilter,
    RunFilter,
    ToolFilter,
    ViewStatus,
)
from store.duckdb import dimensions
from store.duckdb.cursors import keyset, make_cursor, ordinal, paged
from store.duckdb.engine import Engine
from store.duckdb.present import (
    attributes_of,
    content_of,
    inline_content,
    is_alive,
    pieces_in,
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
from store.duckdb.statements import sql
from store.duckdb.texts import texts_of
from store.duckdb.writer import DuckDbWriter
from store.errors import NotFound
from store.model.conversation import content_ids, conversation, events_by_step
from store.model.dialect import NORMALISER_VERSION
from store.model.ids import split_step_id, step_id
from store.model.replay import Replay, Times
from store.model.rows import (
    AgentRow,
    ContentRow,
    DecisionRow,
    EvaluationRow,
    EventRow,
    MessageRow,
    MetricPointRow,
    PromptRow,
    ReplayEvent,
    RunRow,
    StepDetail,
    StepRow,
    ToolCallRow,
    ToolRow,
)
from store.model.runs import CLOCK_SKEW_NS, IDLE_NS
from store.model.times import rfc3339
from store.model.tool_calls import name_step
from store.model.trace import Trace
from store.model.truncation import cut_steps, redacted_steps
from store.otlp.redaction import redactions
from store.otlp.truncation import truncations
from store.record import Position

REPLAYED_EVALUATIONS_MAX = 100_000  # In one run: more are for the list, which has pages.


class DuckDbReader:
    """See `store.contract.Reader`. Any thread's."""

    def __init__(self, engine: Engine, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._engine = engine
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
        return paged(rows, limit, lambda row: present_run(row, now["now_ns"]), "start_ns", "run_id")

    def run(self, tenant: str, run_id: str) -> RunRow:
        return present_run(self._run_row(tenant, run_id), self._clock_ns())

    def steps(self, tenant: str, run_id: str, *, limit: int, cursor: str | None, inline: bool) -> Page[StepRow]:
        row, traces = self._load(tenant, run_id)
        after = ordinal(cursor)
        ordered = [(seq, trace, span) for seq, (trace, span) in enumerate(_walk(traces))]
        shown = ordered[after : after + limit]
        rows = self._present(tenant, row, shown, inline=inline)
        more = after + limit < len(ordered)
        return Page(rows, make_cursor(after + limit) if more else None)

    def step(self, tenant: str, step_id: str) -> StepDetail:
        ids = split_step_id(step_id)
        rows = ids and self._engine.rows(
            sql("select_step_bodies"), {"tenant": tenant, "trace_id": ids[0], "span_id": ids[1]}
        )
        if not rows:
            raise NotFound(f"there is no step {step_id!r}")
        row = rows[0]
        run, traces = self._load(tenant, row["trace_id"])
        steps = [(seq, trace, span) for seq, (trace, span) in enumerate(_walk(traces))
                 if (span.trace_id, span.span_id) == ids]  # fmt: skip
        texts = self._texts(tenant, pieces_in(row))
        extra = msgspec.json.decode(row["extra"]) if row["extra"] else {}
        resource = msgspec.json.decode(texts.get(row["resource"], '{"attributes":{}}'))
        extra |= {f"resource_{name}": value for name, value in resource.items() if name != "attributes"}
        attributes, scope = attributes_of(row, texts), msgspec.json.decode(texts.get(row["scope"], '{"attributes":{}}'))
        return StepDetail(
            step=self._present(tenant, run, steps, inline=False)[0],
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

    def tool_calls(self, tenant: str, run_id: str) -> list[ToolCallRow]:
        run = self._run_row(tenant, run_id)
        return [call for call, _ in self._calls(tenant, run)]

    def decisions(self, tenant: str, run_id: str) -> list[DecisionRow]:
        run = self._run_row(tenant, run_id)
        return [decision for decision, _ in self._decisions(tenant, run["run_id"])]

    def messages(self, tenant: str, run_id: str) -> list[MessageRow]:
        _, traces = self._load(tenant, run_id)
        found = conversation(traces, self._texts(tenant, content_ids(traces)))
        cut = {step_id(trace.trace_id, span_id) for trace in traces for span_id in cut_steps(trace)}
        redacted = {step_id(trace.trace_id, span_id) for trace in traces for span_id in redacted_steps(trace)}
        return [
            MessageRow(
                ordinal=index,
                at=rfc3339(message.at_ns),
                step_id=name_step(message.span) or "",
                direction=message.direction,  # pyright: ignore[reportArgumentType] - one of the three by construction
                role=message.role,
                parts=message.parts,
                finish_reason=message.finish_reason,
                content_id=message.content_id,
                step_truncated=name_step(message.span) in cut,
                step_redacted=name_step(message.span) in redacted,
            )
            for index, message in enumerate(found)
        ]

    def replay(self, tenant: str, run_id: str) -> Iterator[ReplayEvent]:
        row, traces = self._load(tenant, run_id)
        journal_id = self._journal_id()
        of_it = EvaluationFilter(run=row["run_id"])
        evaluations = self._evaluations(tenant, of_it, limit=REPLAYED_EVALUATIONS_MAX, cursor=None)
        return Replay(
            run=present_run(row, self._clock_ns()),
            traces=traces,
            messages=list(conversation(traces, self._texts(tenant, content_ids(traces)))),
            calls=self._calls(tenant, row),
            decisions=self._decisions(tenant, row["run_id"]),
            evaluations=[
                (present_evaluation(one, journal_id=journal_id), one["time_ns"]) for one in reversed(evaluations)
            ],
        ).events()

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

    def _present(
        self, tenant: str, run: dict[str, Any], shown: list[tuple[int, Trace, Any]], *, inline: bool
    ) -> list[StepRow]:
        journal_id = self._journal_id()
        outcomes, alive = self._outcomes(tenant, [run["run_id"]]), is_alive(run, self._clock_ns())
        traces = {trace.trace_id: trace for _, trace, _ in shown}
        speaking = {trace_id: events_by_step(trace) for trace_id, trace in traces.items()}
        servers = {trace_id: trace.mcp_servers() for trace_id, trace in traces.items()}
        contents = [content_of(span, speaking[trace.trace_id].get(span.span_id, [])) for _, trace, span in shown]
        texts: dict[str, str] = {}
        if inline:
            texts = self._texts(tenant, {piece for one in contents for ids in one.values() for piece in ids})
        return [
            present_step(
                span, run_id=run["run_id"], seq=seq, journal_id=journal_id, outcomes=outcomes, is_alive=alive,
                content=inline_content(content, texts) if inline else dict(content),
                events=speaking[trace.trace_id].get(span.span_id, []), mcp_servers=servers[trace.trace_id],
            )
            for (seq, trace, span), content in zip(shown, contents, strict=True)
        ]  # fmt: skip

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

    def _load(self, tenant: str, run_id: str) -> tuple[dict[str, Any], list[Trace]]:
        """A run's row and its traces in order of time."""
        row = self._run_row(tenant, run_id)
        found = {trace.trace_id: trace for trace in self._writer.traces((tenant, one) for one in row["trace_ids"])}
        return row, [found[one] for one in row["trace_ids"]]

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

    def _calls(self, tenant: str, run: dict[str, Any]) -> list[tuple[ToolCallRow, Times]]:
        rows = self._engine.rows(sql("select_tool_calls"), {"tenant": tenant, "run_id": run["run_id"]})
        alive = is_alive(run, self._clock_ns())
        texts = self._texts(tenant, {row[name] for row in rows for name in ("arguments", "result") if row[name]})
        return [
            (present_call(row, texts, is_alive=alive), Times(row["requested_ns"], row["started_ns"], _told_ns(row))) for row
            in rows
        ]  # fmt: skip

    def _decisions(self, tenant: str, run_id: str) -> list[tuple[DecisionRow, Times]]:
        rows = self._engine.rows(sql("select_decisions"), {"tenant": tenant, "run_id": run_id})
        texts = self._texts(tenant, {row["reason"] for row in rows if row["reason"]})
        return [
            (present_decision(row, texts), Times(row["requested_ns"], 0, row["decided_ns"])) for row in rows
        ]  # fmt: skip


def _told_ns(row: dict[str, Any]) -> int:
    """When a call's result was there: its end, else when the model was told."""
    return row["ended_ns"] or row["answered_ns"] or row["started_ns"] or row["requested_ns"]


def _walk(traces: list[Trace]) -> Iterator[tuple[Trace, Any]]:
    for trace in traces:
        for span in trace.ordered():
            yield trace, span
