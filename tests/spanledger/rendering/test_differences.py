"""Two runs beside each other, as people see them."""

from dataclasses import replace
from io import StringIO

from rich.console import Console

from spanledger.rendering.differences import diff_lines
from store.model.diff import DiffInput, Heard, diff
from store.model.diff_rows import RunDiff
from tests.builders import make_run, make_step, make_tool_call


def drawn(found: RunDiff) -> str:
    out = StringIO()
    for renderable in diff_lines(found):
        Console(file=out, width=160, markup=False, highlight=False).print(renderable)
    return out.getvalue()


def compared(arguments: object, *more: str) -> RunDiff:
    def one(given: object, tools: tuple[str, ...]) -> DiffInput:
        steps = [make_step(f"step-{n}", seq=n, tool_name=tool) for n, tool in enumerate(tools, 1)]
        return DiffInput(make_run(steps=len(steps), tool_calls=1), steps, [make_tool_call(arguments=given)], Heard())

    return diff(one({"city": "Paris"}, ("deploy",)), one(arguments, ("deploy", *more)))


def test_the_step_where_they_part_is_marked_and_named():
    text = drawn(compared({"city": "Oslo"}, "rollback"))
    assert ">~  1  1  tool deploy    changed: arguments" in text
    assert " +     2  tool rollback  only in B" in text
    assert '- arguments {"city":"Paris"}' in text
    assert '+ arguments {"city":"Oslo"}' in text
    assert "they first diverge at tool deploy" in text


def test_runs_that_did_the_same_say_so():
    assert "1 the same, 0 changed, 0 only in A, 0 only in B; the agents did the same" in drawn(
        compared({"city": "Paris"})
    )


def test_what_was_not_compared_is_said_and_nothing_is_claimed_of_it():
    text = drawn(replace(compared({"city": "Paris"}), whole=False))
    assert "as far as compared, the agents did the same" in text
    assert "only the first 1 and 1 steps were compared" in text


def test_names_cannot_move_the_cursor_of_a_terminal():
    assert "\x1b" not in drawn(compared({"city": "\x1b[2J"}, "evil\x1b[2J"))
