"""Which traces are one run. Every reason to join two of them is a tie: a number that both would name.

That a later trace goes on with an earlier one is told by an id of the run or of the workflow that both say, or by a tool call
that the earlier one left open, with what makes its id tell more than chance (alone it does not: some models number their
calls from 1). Each becomes a tie with its rule in it, so that a view can look ties up without knowing the rules, and joining
is a function of ties and times.

There are two kinds: `shares` are the same in every segment of a run; `takes` of a later one meet `leaves` of an earlier one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from itertools import product
from typing import Final

from store.model.dialect import dialect_of_scope
from store.model.ids import segment_id
from store.model.span import Span
from store.model.tally import start_of
from store.model.tool_calls import REQUESTING_KINDS, is_silent
from store.model.trace import Trace


class Rule(IntEnum):
    """Why two segments are one run, the most telling first: where several hold, the first is named."""

    CONVERSATION_CALL = 0
    WORKFLOW = 1
    RUN = 2
    RESPONSE_CALL = 3
    CALL = 4


RULE_NAMES: Final = {
    Rule.CONVERSATION_CALL: "conversation id and a pending tool call id",
    Rule.WORKFLOW: "workflow id",
    Rule.RUN: "the framework's own run id",
    Rule.RESPONSE_CALL: "the response that was gone on from and a pending tool call id",
    Rule.CALL: "pending tool call id, with the same service, agent, tool and arguments, of one run alone",
}
_RULE_BITS: Final = 3
_ANY_ARGUMENTS: Final = "*"
_UNKNOWN_ARGUMENTS: Final = "?"


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """What joining needs to know of a segment: its ties (see the module), and its place in time and in the record."""

    tenant: str
    trace_id: str
    segment_id: str
    conversation_id: str | None
    start_ns: int
    first_sequence: int
    last_sequence: int
    shares: frozenset[int] = frozenset()
    leaves: frozenset[int] = frozenset()
    takes: frozenset[int] = frozenset()

    @property
    def ties(self) -> frozenset[int]:
        return self.shares | self.leaves | self.takes


@dataclass(frozen=True, slots=True)
class Joined:
    """A segment in its run. `continues` is the segment that it was joined to, by `rule`."""

    facts: SegmentFacts
    run_id: str
    segment_no: int
    continues: str | None
    rule: str | None


def tie(rule: Rule, *parts: str) -> int:
    """A tie: 63 bits, the rule in the lowest of them. The first part is the tenant."""
    digest = sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return int.from_bytes(digest.digest()[:8], "big") >> (_RULE_BITS + 1) << _RULE_BITS | rule


def rule_of(tied: int) -> Rule:
    """The rule that made a tie."""
    return Rule(tied & ((1 << _RULE_BITS) - 1))


def facts_of(trace: Trace) -> SegmentFacts:
    """What joining needs, from a trace's current spans."""
    spans = trace.ordered()
    requested: set[str] = set()
    answered: set[str] = set()
    asked: set[str] = set()
    for span_id, said in trace.talk().items():
        if said.requests and trace.spans[span_id].kind in REQUESTING_KINDS:
            requested.update(request.id for request in said.requests if request.id)
        answered.update(answer.id for answer in said.answers if answer.id)
        asked.update(call.id for call in said.approvals if call.id)
    executed: set[str] = set()
    stopped: set[str] = set()
    conversation_id = workflow_id = None
    run_ids: set[str] = set()
    keeps_run_id = said_so = False
    for span in spans:
        conversation_id = conversation_id or span.conversation_id
        if span.agent_run_id and span.agent_run_id not in run_ids:
            run_ids.add(span.agent_run_id)
            dialect = dialect_of_scope(span.scope_name or "")
            keeps_run_id = keeps_run_id or (dialect is not None and dialect.resumes_keep_run_id)
        if span.particulars is not None:
            workflow_id = workflow_id or span.workflow_id
            said_so = said_so or bool(span.verdicts)
        if span.kind == "tool" and span.tool_call_id:
            (stopped if span.outcome == "interrupted" or is_silent(span) else executed).add(span.tool_call_id)
    if said_so or trace.events:
        answered.update(given.verdict.id for given in trace.verdicts() if given.verdict.id)
    pending = (requested | asked | stopped) - executed - answered
    handled = (executed | answered | stopped) - requested
    tenant = trace.tenant
    leaves: frozenset[int] = frozenset()
    takes: frozenset[int] = frozenset()
    # Where a resume says the run's own id again, a call id can only mislead.
    if (pending or handled) and not keeps_run_id:
        leaves = frozenset(_left(trace, pending, conversation_id)) if pending else leaves
        takes = frozenset(_taken(trace, handled, conversation_id)) if handled else takes
    return SegmentFacts(
        tenant=tenant,
        trace_id=trace.trace_id,
        segment_id=segment_id(tenant, trace.trace_id),
        conversation_id=conversation_id,
        start_ns=start_of(spans),
        first_sequence=trace.first_sequence,
        last_sequence=trace.last_sequence,
        shares=frozenset([tie(Rule.RUN, tenant, run_id) for run_id in run_ids]
                         + ([tie(Rule.WORKFLOW, tenant, workflow_id)] if workflow_id else [])),
        leaves=leaves,
        takes=takes,
    )  # fmt: skip


def join(facts: Iterable[SegmentFacts]) -> list[list[Joined]]:
    """Segments to runs, each in order of time. Independent of the order given.

    Segments that share a tie with none of the others may be left out without changing the runs of these.
    """
    ordered = sorted(facts, key=lambda segment: (segment.start_ns, segment.segment_id))
    by_id = {segment.segment_id: segment for segment in ordered}
    sharing: dict[int, SegmentFacts] = {}
    leaving: dict[int, list[SegmentFacts]] = {}
    run_of: dict[str, str] = {}
    members: dict[str, list[str]] = {}
    joined_to: dict[str, tuple[Rule, str]] = {}
    for segment in ordered:
        name = segment.segment_id
        found = _earlier(segment, sharing, leaving)
        if found:
            joined_to[name] = min((rule, earlier.segment_id) for rule, earlier in found.items())
        run_of[name], members[name] = name, [name]
        for earlier in found.values():
            first, second = sorted((run_of[earlier.segment_id], run_of[name]), key=lambda one: _when(by_id[one]))
            if first != second:
                members[first] += members[second]
                run_of.update(dict.fromkeys(members.pop(second), first))
        for tied in segment.shares:
            sharing[tied] = segment
        for tied in segment.leaves:
            leaving.setdefault(tied, []).append(segment)
    runs: dict[str, list[Joined]] = {}
    for segment in ordered:
        run = runs.setdefault(run_of[segment.segment_id], [])
        rule, earlier = joined_to.get(segment.segment_id, (None, None))
        named = RULE_NAMES[rule] if rule is not None else None
        run.append(Joined(segment, run_of[segment.segment_id], len(run) + 1, earlier, named))
    return list(runs.values())


def _when(segment: SegmentFacts) -> tuple[int, str]:
    return segment.start_ns, segment.segment_id


def _earlier(
    segment: SegmentFacts, sharing: dict[int, SegmentFacts], leaving: dict[int, list[SegmentFacts]]
) -> dict[Rule, SegmentFacts]:
    """The segment that this one goes on from, by each rule that says one."""
    found: dict[Rule, SegmentFacts] = {}
    for tied in segment.shares:
        if tied in sharing:
            _keep_latest(found, rule_of(tied), sharing[tied])
    alone: dict[str, SegmentFacts] = {}
    for tied in segment.takes:
        for earlier in leaving.get(tied, ()):
            if rule_of(tied) is Rule.CALL:
                alone[earlier.segment_id] = earlier
            else:
                _keep_latest(found, rule_of(tied), earlier)
    if alone:
        # One that another of them has gone on from, and left open again, is no candidate of its own.
        wanted = {tied for tied in segment.takes if rule_of(tied) is Rule.CALL}
        last = [
            one for one in alone.values()
            if not any(one.leaves & other.takes & wanted and _when(one) < _when(other) for other in alone.values())
        ]  # fmt: skip
        if len(last) == 1:
            found[Rule.CALL] = last[0]
    return found


def _keep_latest(found: dict[Rule, SegmentFacts], rule: Rule, earlier: SegmentFacts) -> None:
    if rule not in found or _when(found[rule]) < _when(earlier):
        found[rule] = earlier


def _left(trace: Trace, pending: set[str], conversation_id: str | None) -> Iterator[int]:
    """The ties of calls that were left open."""
    tenant = trace.tenant
    if conversation_id is not None:
        for call_id in pending:
            yield tie(Rule.CONVERSATION_CALL, tenant, conversation_id, call_id)
        return
    talk = trace.talk()
    for span in trace.ordered():
        for request in (*talk[span.span_id].requests, *talk[span.span_id].approvals):
            if request.id in pending:
                if span.response_id:
                    yield tie(Rule.RESPONSE_CALL, tenant, span.response_id, request.id)
                yield from _left_alone(trace, span, request.id, request.name, request.arguments)
        if span.kind == "tool" and span.tool_call_id in pending:
            yield from _left_alone(trace, span, span.tool_call_id, span.tool_name, span.arguments)


def _left_alone(trace: Trace, span: Span, call_id: str, name: str | None, arguments: str | None) -> Iterator[int]:
    for marks in _alone(trace, span, call_id, name):
        for told in (arguments or _UNKNOWN_ARGUMENTS, _ANY_ARGUMENTS):
            yield tie(Rule.CALL, *marks, told)


def _taken(trace: Trace, handled: set[str], conversation_id: str | None) -> Iterator[int]:
    """The ties of calls that were taken up."""
    tenant = trace.tenant
    if conversation_id is not None:
        for call_id in handled:
            yield tie(Rule.CONVERSATION_CALL, tenant, conversation_id, call_id)
        return
    spans, talk = trace.ordered(), trace.talk()
    before = {span.previous_response_id for span in spans if span.previous_response_id}
    for response_id, call_id in product(before, handled):
        yield tie(Rule.RESPONSE_CALL, tenant, response_id, call_id)
    for span in spans:
        taken = [(answer.id, answer.name, answer.arguments) for answer in talk[span.span_id].answers]
        if span.kind == "tool":
            taken.append((span.tool_call_id, span.tool_name, span.arguments))
        for call_id, name, arguments in taken:
            if call_id in handled:
                for marks in _alone(trace, span, call_id, name):
                    for told in (arguments, _UNKNOWN_ARGUMENTS) if arguments else (_ANY_ARGUMENTS,):
                        yield tie(Rule.CALL, *marks, told)


def _alone(trace: Trace, span: Span, call_id: str, name: str | None) -> Iterator[tuple[str, ...]]:
    """What a call id must come with where nothing else joins: tenant, service, agent, tool. Nothing if one is not known."""
    agents = (one for one in (span, *trace.ancestors(span)) if one.kind == "agent")
    agent = next(agents, None)
    if agent is not None and name and span.service_name:
        yield trace.tenant, span.service_name, agent.agent_name or "", name, call_id
