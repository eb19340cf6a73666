"""What the model says: a script in place of a language model, so that the demo needs no key and no network.

Only the words are scripted. Each turn is worked out from the conversation so far, as a model would: the order number is
read from the customer's message, the parcel and the price from what the tools answered, the reason of a denial from
the person who denied. So a tool that answers differently, or fails, changes what is said and done next.
"""

import asyncio
import json
import re
import uuid
from dataclasses import dataclass
from typing import Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo
from pydantic_ai.usage import RequestUsage

MODEL_NAME = "scripted-support-1"
VOUCHER_EUR = 15.0
# Long enough for a person to follow the turns, short enough for a demo.
THINKING_TIME_S = 0.25
# Providers count about four characters to a token, and cache a prompt in blocks.
CHARACTERS_PER_TOKEN = 4
CACHE_BLOCK_TOKENS = 64
ORDER_NUMBER = re.compile(r"\bFP-\d+\b")


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of the model: its reasoning, and either tool calls (name, arguments) or text for the customer."""

    thinking: str
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    text: str = ""


async def scripted_model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """The function behind pydantic-ai's FunctionModel: the conversation in, the model's next response out."""
    await asyncio.sleep(THINKING_TIME_S)
    turn = next_turn(messages)
    parts: list[ThinkingPart | TextPart | ToolCallPart] = [ThinkingPart(turn.thinking)]
    if turn.text:
        parts.append(TextPart(turn.text))
    parts += [
        ToolCallPart(name, arguments, tool_call_id=f"call_{uuid.uuid4().hex[:24]}") for name, arguments in turn.calls
    ]
    return ModelResponse(
        parts=parts,
        usage=_usage(messages, info, turn),
        model_name=MODEL_NAME,
        provider_response_id=f"resp_{uuid.uuid4().hex[:24]}",
        finish_reason="tool_call" if turn.calls else "stop",
    )


def next_turn(messages: list[ModelMessage]) -> Turn:
    """The next step of a support case, given everything said and answered so far."""
    request = _customer_text(messages)
    answers = _tool_answers(messages)
    if "get_order" not in answers:
        return _look_the_order_up(request)
    if answers["get_order"].outcome != "success":
        return Turn(
            thinking="Without the order I can neither track nor refund anything.",
            text=f"I could not find your order: {answers['get_order'].content}",
        )
    order = _as_object(answers["get_order"].content)
    missing = next((line for line in order["lines"] if line["state"] != "delivered"), None)
    if missing is not None and "track_parcel" not in answers:
        return Turn(
            thinking=(
                f"The order is {order['customer']}'s. The {missing['name']} travel in parcel {missing['parcel']}, which "
                f"is only at '{missing['state']}'. I ask the carrier before I say anything about it."
            ),
            calls=(("track_parcel", {"parcel": missing["parcel"]}),),
        )
    if "refund_order" not in answers:
        return _ask_for_money(order, tracking=answers.get("track_parcel"))
    return _sum_up(order, answers)


def _look_the_order_up(request: str) -> Turn:
    number = ORDER_NUMBER.search(request)
    if number is None:
        return Turn(
            thinking="There is no order number in the message, and I must not guess one.",
            text="Could you tell me your order number? It looks like FP-1042.",
        )
    return Turn(
        thinking=(
            f"Three wishes: money back for something broken, the whereabouts of a parcel, and a voucher. "
            f"First I need order {number.group()} to see what was bought and what has arrived."
        ),
        calls=(("get_order", {"order_id": number.group()}),),
    )


def _ask_for_money(order: dict[str, Any], *, tracking: ToolReturnPart | None) -> Turn:
    broken = next((line for line in order["lines"] if line["state"] == "delivered"), None)
    if broken is None:
        return Turn(
            thinking="Nothing of this order has been delivered, so nothing of it can have arrived broken.",
            text=f"Nothing of order {order['order_id']} has been delivered yet. Is it another order that arrived broken?",
        )
    so_far = "The carrier answered."
    if tracking is not None and tracking.outcome != "success":
        so_far = "Tracking failed, and trying again would not help, so I will tell the customer what is known."
    return Turn(
        thinking=(
            f"{so_far} The {broken['name']} was delivered and cost {broken['price_eur']:.2f} EUR, so a refund of that "
            "amount is due. Refunds and vouchers cost the shop money: a person has to approve both."
        ),
        calls=(
            (
                "refund_order",
                {
                    "order_id": order["order_id"],
                    "sku": broken["sku"],
                    "amount_eur": broken["price_eur"],
                    "reason": f"{broken['name']} arrived cracked",
                },
            ),
            (
                "issue_voucher",
                {"customer": order["customer"], "amount_eur": VOUCHER_EUR, "reason": "goodwill, late second parcel"},
            ),
        ),
    )


def _sum_up(order: dict[str, Any], answers: dict[str, ToolReturnPart]) -> Turn:
    sentences = [f"Hello {order['customer'].split()[0]}, here is where your order {order['order_id']} stands."]
    refund = answers["refund_order"]
    if refund.outcome == "success":
        booked = _as_object(refund.content)
        sentences.append(
            f"Your refund of {booked['amount_eur']:.2f} EUR is {booked['state']} (reference {booked['refund_id']})."
        )
    else:
        sentences.append(f"The refund was not made: {refund.content}")
    tracking = answers.get("track_parcel")
    if tracking is not None and tracking.outcome == "success":
        scan = _as_object(tracking.content)
        sentences.append(f"Your second parcel is at: {scan['place']} ({scan['state']}).")
    elif tracking is not None:
        sentences.append(
            "I could not find your second parcel: the carrier has not scanned it yet, so it is still with us."
        )
    voucher = answers.get("issue_voucher")
    if voucher is not None and voucher.outcome == "success":
        sentences.append(f"Your voucher is {_as_object(voucher.content)['code']}.")
    elif voucher is not None:
        sentences.append(f"I may not give you a voucher this time: {voucher.content}")
    outcomes = ", ".join(f"{name} {answer.outcome}" for name, answer in answers.items())
    return Turn(
        thinking=f"Everything is answered: {outcomes}. I say what was done and, as plainly, what was not.",
        text=" ".join(sentences),
    )


def _customer_text(messages: list[ModelMessage]) -> str:
    prompts = [
        part.content
        for message in messages
        if isinstance(message, ModelRequest)
        for part in message.parts
        if isinstance(part, UserPromptPart)
    ]
    return " ".join(prompt for prompt in prompts if isinstance(prompt, str))


def _tool_answers(messages: list[ModelMessage]) -> dict[str, ToolReturnPart]:
    return {
        part.tool_name: part
        for message in messages
        if isinstance(message, ModelRequest)
        for part in message.parts
        if isinstance(part, ToolReturnPart)
    }


def _as_object(content: Any) -> dict[str, Any]:
    return json.loads(content) if isinstance(content, str) else content


def _usage(messages: list[ModelMessage], info: AgentInfo, turn: Turn) -> RequestUsage:
    """Tokens as a provider would count them: the whole history as input, all but what is new from its cache."""
    fixed = len(info.instructions or "") + sum(
        len(tool.description or "") + len(json.dumps(tool.parameters_json_schema)) for tool in info.function_tools
    )
    earlier = [index for index, message in enumerate(messages) if isinstance(message, ModelResponse)]
    before = _characters(messages[: earlier[-1]]) + fixed if earlier else 0
    called = sum(len(name) + len(json.dumps(arguments)) for name, arguments in turn.calls)
    reasoning = len(turn.thinking) // CHARACTERS_PER_TOKEN
    return RequestUsage(
        input_tokens=(_characters(messages) + fixed) // CHARACTERS_PER_TOKEN,
        output_tokens=reasoning + (len(turn.text) + called) // CHARACTERS_PER_TOKEN,
        cache_read_tokens=before // CHARACTERS_PER_TOKEN // CACHE_BLOCK_TOKENS * CACHE_BLOCK_TOKENS,
        details={"reasoning_tokens": reasoning},
    )


def _characters(messages: list[ModelMessage]) -> int:
    total = 0
    for part in (part for message in messages for part in message.parts):
        if isinstance(part, ToolCallPart):
            total += len(part.tool_name) + len(part.args_as_json_str())
        elif isinstance(part, ToolReturnPart):
            total += len(part.model_response_str())
        elif isinstance(part, UserPromptPart | TextPart):
            total += len(str(part.content))
    return total
