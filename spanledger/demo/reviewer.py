"""The person who approves: a shop manager with two rules, and the log record that says who decided what.

The spans tell that a call went ahead, never who let it, so the decision is logged by the application, with the ids that
join it to the conversation and the call. It has no trace of its own: a person decides between two runs.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from pydantic_ai.messages import ToolCallPart

REVIEWER = "Marta Lindqvist, shop manager"
REFUND_LIMIT_EUR = 100.0
# A person takes longer; this is enough for the wait to be seen in the record.
REVIEW_TIME_S = 0.3


@dataclass(frozen=True, slots=True)
class Verdict:
    """A person's decision about one pending tool call."""

    call: ToolCallPart
    approved: bool
    reason: str

    @property
    def word(self) -> str:
        return "approved" if self.approved else "denied"


async def review(pending: Sequence[ToolCallPart]) -> list[Verdict]:
    """Decide every pending call, in order, by what it asks for. What no rule allows is denied."""
    await asyncio.sleep(REVIEW_TIME_S)
    verdicts: list[Verdict] = []
    for call in pending:
        amount_eur = float(call.args_as_dict().get("amount_eur", 0))
        if call.tool_name == "refund_order" and amount_eur <= REFUND_LIMIT_EUR:
            verdict = Verdict(call, approved=True, reason="The customer's photo shows the crack.")
        elif call.tool_name == "issue_voucher" and any(earlier.approved for earlier in verdicts):
            verdict = Verdict(call, approved=False, reason="We do not give a voucher on top of a refund.")
        else:
            verdict = Verdict(call, approved=False, reason="No rule of the shop allows this.")
        verdicts.append(verdict)
    return verdicts


def log_verdicts(logs: LoggerProvider, verdicts: Sequence[Verdict], *, conversation_id: str) -> None:
    """Emit one log record a verdict."""
    logger = logs.get_logger("fernhill.approvals")
    for verdict in verdicts:
        logger.emit(
            LogRecord(
                severity_number=SeverityNumber.INFO,
                severity_text="INFO",
                event_name="fernhill.approval.decided",
                body=f"{REVIEWER} {verdict.word} {verdict.call.tool_name}: {verdict.reason}",
                attributes={
                    "gen_ai.conversation.id": conversation_id,
                    "gen_ai.tool.name": verdict.call.tool_name,
                    "gen_ai.tool.call.id": verdict.call.tool_call_id,
                    "fernhill.approval.verdict": verdict.word,
                    "fernhill.approval.reason": verdict.reason,
                    "fernhill.approval.decided_by": REVIEWER,
                },
            )
        )
