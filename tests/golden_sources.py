"""A golden held to the scenario: facts cite lines that exist and that say them.

What a fact says in the scenario's own words (names, texts, arguments, numbers of tokens) must stand on the lines that it
cites, so that neither can rot alone. What a hole says was never sent must stand there too, and in no body of the capture.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tests.captured import bodies
from tests.golden_facts import KINDS, TOKENS, Golden, Table, citations, column, own_fields, tables

ROOT = Path(__file__).parents[1]
SCENARIOS = ROOT / "tests" / "fixtures" / "scenarios"
CITED_LINES_MAX = 30  # A citation that spans more points at nothing in particular.
_CITATION = re.compile(r"(?P<file>[\w./-]+\.py)(?::(?P<first>\d+)(?:-(?P<last>\d+))?|::(?P<name>[\w.]+))")


def source_problems(golden: Golden) -> list[str]:
    """Facts whose `from` leads nowhere, or to lines that do not say it."""
    found: list[str] = []
    for table in tables(golden):
        text, unread = _cited(table.cited)
        found += [f"{table.place}: {one}" for one in unread]
        if not unread:
            found += [f"{table.place}: {one} [{', '.join(table.cited)}]" for one in _unsaid(table, text)]
    for name, hole in golden.holes.items():
        text, unread = _cited(citations(hole))
        found += [f"hole {name}: {one}" for one in unread]
        found += [f"hole {name}: {one}" for one in _sent_after_all(golden.name, hole, text)]
    return found


def _unsaid(table: Table, text: str) -> Iterator[str]:
    kind, explained = KINDS[table.kind], table.facts.get("worked_out", {})
    for field, value in own_fields(table.kind, table.facts).items():
        if field.endswith("_set") or column(field) in kind.model_words or field in explained:
            continue
        if column(field) in TOKENS:
            terms = [value] if isinstance(value, int) else value.split(" + ")
            unsaid = [term for term in terms if not any(says_number(text, one) for one in str(term).split(" * "))]
        else:
            unsaid = [leaf for leaf in leaves(value) if not says(text, leaf)]
        yield from (f"{field}: {one!r} does not stand on the cited lines" for one in unsaid)


def leaves(value: Any) -> Iterator[str | float]:
    """The strings (keys too) and numbers of a value. Truth values are nobody's words."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield value


def says(text: str, leaf: str | float) -> bool:
    """Whether a text says it: a name whole, of a sentence more than half of the words (programs put them together)."""
    if not isinstance(leaf, str):
        return says_number(text, str(leaf))
    if not re.search(r"\s", leaf.strip()):
        return re.search(rf"(?<!\w){re.escape(leaf.strip())}(?!\w)", text) is not None
    wanted, there = re.findall(r"\w+", leaf), set(re.findall(r"\w+", text))
    return 2 * sum(word in there for word in wanted) > len(wanted)


def says_number(text: str, number: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(number.removesuffix('.0'))}(?:\.0+)?(?![\w.]*\d)", text) is not None


def _sent_after_all(capture: str, hole: dict[str, Any], text: str) -> Iterator[str]:
    for literal in hole.get("never_sent", []):
        if literal not in text:
            yield f"{literal!r} does not stand on the cited lines"
        for body in bodies(capture):
            if literal.encode() in body.data:
                yield f"{literal!r} was sent after all, in {body.file}"


def _cited(cited: tuple[str, ...]) -> tuple[str, list[str]]:
    """The cited lines, and what is wrong with the citations."""
    texts, unread = [], []
    for citation in cited:
        try:
            texts.append(cited_lines(citation))
        except (ValueError, LookupError, OSError) as error:
            unread.append(f"from {citation!r}: {error}")
    return "\n".join(texts), unread


@cache
def cited_lines(citation: str) -> str:
    """The lines behind `file.py:12`, `file.py:12-20` or `package/file.py::Class.member`.

    Raises ValueError, LookupError or OSError where it leads nowhere.
    """
    found = _CITATION.fullmatch(citation)
    if found is None:
        raise ValueError("is not file.py:line, file.py:line-line or package/file.py::name")
    file = next((one for one in (SCENARIOS / found["file"], ROOT / found["file"]) if one.is_file()), None)
    if file is None:
        raise LookupError("there is no such scenario")
    text = file.read_text()
    first, last = _extent(text, found["name"]) if found["name"] else (int(found["first"]), int(found["last"] or 0))
    last = last or first
    lines = text.splitlines()[first - 1 : last]
    if not 0 < first <= last or len(lines) != last - first + 1 or not "".join(lines).strip():
        raise LookupError("there is nothing on these lines")
    if not found["name"] and len(lines) > CITED_LINES_MAX:
        raise ValueError(f"cites more than {CITED_LINES_MAX} lines")
    return "\n".join(lines)


def _extent(text: str, name: str) -> tuple[int, int]:
    body: list[ast.stmt] = ast.parse(text).body
    node: ast.stmt | None = None
    for piece in name.split("."):
        node = next((one for one in body if piece in _names(one)), None)
        if node is None:
            raise LookupError(f"there is no {piece} in it")
        body = getattr(node, "body", [])
    assert node is not None
    return node.lineno, node.end_lineno or node.lineno


def _names(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}
