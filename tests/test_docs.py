"""The documentation held to the code: what it names exists, what it lists is complete, its examples are what is answered.

Each page is compared with the thing it is about (the OpenAPI description, the typer application, structs, error tables,
pyproject.toml), both ways where it claims to list all of something.
"""

import ast
import importlib.metadata
import json
import re
import struct
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import grpc
import pytest
import typer.main
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from collector.boundary import PassThrough
from collector.errors import ANSWERS
from collector.intake import Intake
from collector.metrics import IngestMetrics
from query.app import create_app
from spanledger.cli import app as command_line
from spanledger.settings import SETTINGS
from store import errors as store_errors
from store.access_records import AccessRecord
from store.journal import format as journal_format
from store.ledger import Ledger
from store.model.rows import ReplayType, RunStatus
from store.record import Signal
from tests.gates import open_gate
from tests.trails import kept_trail

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CAPTURE = ROOT / "tests" / "fixtures" / "captures" / "spanledger-demo"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md"))]
PAGE_IDS = [str(page.relative_to(ROOT)) for page in PAGES]
TOP_LEVEL = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")} - {"build"}
PROJECTION_SECONDS = 60

every_page = pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def table_rows(text: str) -> list[list[str]]:
    """The cells of every body row of every table."""
    rows = [line.strip().strip("|").split("|") for line in text.splitlines() if line.strip().startswith("|")]
    cells = [[cell.strip() for cell in row] for row in rows]
    rule = [all(re.fullmatch(r"-+", cell) for cell in row) for row in cells]
    heads = {index for index, (_, following) in enumerate(pairwise([*rule, False])) if following}
    return [row for index, row in enumerate(cells) if not rule[index] and index not in heads]


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next of its level or higher."""
    level = heading.split(" ", 1)[0]
    found = re.search(rf"^{re.escape(heading)}$(.*?)(?=^#{{1,{len(level)}}} |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, f"there is no section {heading!r}"
    return found[1]


# What pages name


@cache
def names_in(source: Path) -> frozenset[str]:
    """Functions, classes, constants of a module, and `Class.member`."""
    found: set[str] = set()

    def gather(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                gather(node.body, f"{prefix}{node.name}.")
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            found.update(prefix + target.id for target in targets if isinstance(target, ast.Name))

    gather(ast.parse(source.read_text()).body, "")
    return frozenset(found)


@every_page
def test_every_path_that_a_page_names_exists(page):
    for text in re.findall(r"`([^`\n]+)`", prose(page)):
        path = text.partition("::")[0]
        looks_like_one = re.fullmatch(r"[\w.*-]+(/[\w.*-]*)+", path) and path.split("/")[0] in TOP_LEVEL
        if looks_like_one:
            assert any(ROOT.glob(path)), f"{page.name} names {path}, which is not in the repository"


@every_page
def test_every_function_that_a_page_names_exists(page):
    for path, name in re.findall(r"`([\w/]+\.py)::([\w.]+)`", prose(page)):
        assert name in names_in(ROOT / path), f"{page.name} names {path}::{name}"


def test_the_stories_name_functions_at_all():
    for story in ("architecture.md", "write-path.md", "read-path.md", "model.md"):
        assert len(re.findall(r"\.py::", (DOCS / story).read_text())) > 10


@every_page
def test_every_link_within_the_repository_leads_somewhere(page):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", prose(page)):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_can_be_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            links = re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", prose(page))
            targets = [(page.parent / link).resolve() for link in links]
            waiting += [
                found
                for one in targets
                for found in (one.glob("*.md") if one.is_dir() else [one])
                if found.suffix == ".md"
            ]
    assert set(PAGES) == reached


# The API


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Iterator[tuple[Path, TestClient]]:
    """A data folder that took in the demo's capture, and the API over it."""
    folder = tmp_path_factory.mktemp("documented")
    ledger = Ledger.open(folder)
    try:
        intake = Intake(ledger.journal, metrics=IngestMetrics(CollectorRegistry()), boundary=PassThrough())
        signals = {signal.label: signal for signal in Signal}
        for one in json.loads((CAPTURE / "index.json").read_text()):
            outcome = intake.accept(signals[one["signal"]], (CAPTURE / one["file"]).read_bytes())
        assert outcome.position is not None
        # What somebody read once; what the examples read is kept apart, or each would change the answer of the next.
        replayed = AccessRecord(
            at_ns=1_780_000_000_000_000_000,
            who="key:ab12cd34",
            key_prefix="ab12cd34",
            role="auditor",
            peer="192.0.2.7",
            door="api",
            action="replay",
            call="GET /v1/runs/{run_id}/replay",
            outcome="allowed",
            run_id="run_1",
            purpose="incident 7",
        )
        position = ledger.record("default", [replayed]).result()
        assert ledger.waiter.wait_for(position, PROJECTION_SECONDS)
        api = create_app(
            reader=ledger.reader,
            waiter=ledger.waiter,
            registry=CollectorRegistry(),
            gate=open_gate(),
            trail=kept_trail(),
        )
        with TestClient(api) as client:
            yield folder, client
    finally:
        ledger.close()


@cache
def routes() -> dict[str, dict[str, Any]]:
    """The OpenAPI description of each `METHOD path`."""
    unused: Any = None
    paths = create_app(
        reader=unused, waiter=unused, registry=CollectorRegistry(), gate=open_gate(), trail=kept_trail()
    ).openapi()["paths"]
    return {f"{method.upper()} {path}": said for path, methods in paths.items() for method, said in methods.items()}


def test_the_api_page_has_every_call_and_no_other():
    assert re.findall(r"^### ([A-Z]+ /.*)$", (DOCS / "api.md").read_text(), re.MULTILINE) == list(routes())


def test_the_readme_has_every_call_and_no_other():
    rows = [row for row in table_rows((ROOT / "README.md").read_text()) if row[0].startswith(("`GET", "`POST"))]
    assert [call for row in rows for call in re.findall(r"`([A-Z]+ [^`]+)`", row[0])] == list(routes())


@pytest.mark.parametrize("call", routes())
def test_the_api_page_names_every_parameter_of_a_call(call):
    taken = {one["name"] for one in routes()[call].get("parameters", []) if one["in"] == "query"}
    said = re.search(
        r"^Parameters: (.*?)\n\n", section((DOCS / "api.md").read_text(), f"### {call}"), re.DOTALL | re.MULTILINE
    )
    named = set(re.findall(r"`(\w+)`", re.sub(r"\([^()]*\)", "", said[1]))) if said else set()
    assert named == taken


def test_the_api_page_has_every_problem_that_is_answered():
    answered = {
        node.args[1].value
        for node in ast.walk(ast.parse((ROOT / "query" / "problems.py").read_text()))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "problem"
        and isinstance(node.args[1], ast.Constant)
    }
    listed = set(re.findall(r"`urn:spanledger:problem:([\w-]+)`", (DOCS / "api.md").read_text()))
    assert listed - {"method-not-allowed"} == answered  # That one is made of the status's own phrase.


def examples() -> list[tuple[str, str, str, str]]:
    """(path, body, form, text) of every example: a request and what is answered to it. What has a body is a POST."""
    pattern = r"```http\n(?:GET|POST) (\S+)\n((?:\{.*\}\n)?)```\n\n```(\w+)\n(.*?)```"
    blocks = re.findall(pattern, (DOCS / "api.md").read_text(), re.DOTALL)
    assert len(blocks) == (DOCS / "api.md").read_text().count("```http")
    return blocks


def mismatch(shown: Any, answered: Any, where: str = "") -> str | None:
    """Where an example differs from the answer. `…` stands for any value, for the rest of a text, and for further ones."""
    if isinstance(shown, dict) and isinstance(answered, dict):
        return _members_mismatch(shown, answered, where)
    if isinstance(shown, list) and isinstance(answered, list):
        return _items_mismatch(shown, answered, where)
    if isinstance(shown, str) and shown.endswith("…"):
        same = shown == "…" or (isinstance(answered, str) and answered.startswith(shown[:-1]))
    else:
        same = shown == answered and type(shown) is type(answered)
    return None if same else f"{where}: {answered!r}"


def _members_mismatch(shown: dict[str, Any], answered: dict[str, Any], where: str) -> str | None:
    names = shown.keys() - {"…"}
    if names - answered.keys() or ("…" not in shown and answered.keys() - names):
        return f"{where}: has {sorted(answered)}"
    return next(filter(None, (mismatch(shown[name], answered[name], f"{where}.{name}") for name in names)), None)


def _items_mismatch(shown: list[Any], answered: list[Any], where: str) -> str | None:
    wanted = shown[:-1] if shown[-1:] == ["…"] else shown
    if len(wanted) > len(answered) or (wanted is shown and len(wanted) != len(answered)):
        return f"{where}: has {len(answered)} items"
    pairs = enumerate(zip(wanted, answered, strict=False))
    return next(filter(None, (mismatch(one, got, f"{where}[{index}]") for index, (one, got) in pairs)), None)


@pytest.mark.parametrize(("path", "body", "form", "text"), examples(), ids=[path for path, *_ in examples()])
def test_an_example_is_what_the_server_answers(recorded, path, body, form, text):
    answer = recorded[1].post(path, content=body) if body else recorded[1].get(path)
    if form == "json":
        assert mismatch(json.loads(text), answer.json()) is None
        return
    events = [json.loads(line) for line in answer.text.splitlines()]
    for line in text.splitlines():
        shown = json.loads(line)
        assert mismatch(shown, events[shown["position"]]) is None


def test_an_example_that_is_wrong_is_noticed():
    assert mismatch({"a": [1, "…"], "…": "…"}, {"a": [1, 2], "b": 3}) is None
    for shown in (
        {"a": [2, "…"], "b": 3},
        {"a": [1], "b": 3},
        {"a": [1, 2]},
        {"a": [1, 2], "b": 3, "c": 4},
        {"a": [1, 2], "b": 3.0},
    ):
        assert mismatch(shown, {"a": [1, 2], "b": 3}) is not None


@pytest.mark.parametrize(("page", "words"), [("api.md", ReplayType), ("api.md", RunStatus), ("cli.md", RunStatus)])
def test_a_page_names_every_word_of_an_enumeration(page, words):
    assert get_origin(words) is Literal
    said = (DOCS / page).read_text()
    assert [word for word in get_args(words) if f"`{word}`" not in said] == []


# The command line


def commands() -> dict[str, Any]:
    """Every command by its words: those of a group with the group's before them."""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_command(command_line).commands.items():
        below = getattr(command, "commands", None)
        found |= {f"{name} {one}": said for one, said in below.items()} if below else {name: command}
    return found


def test_the_cli_page_has_every_command_and_no_other():
    headings = re.findall(r"^## spanledger ([a-z]+(?: [a-z]+)?)(.*)$", (DOCS / "cli.md").read_text(), re.MULTILINE)
    assert [name for name, _ in headings] == list(commands())
    for name, arguments in headings:
        taken = [
            one.make_metavar(None) if not one.metavar else one.metavar
            for one in commands()[name].params
            if one.param_type_name == "argument"
        ]
        assert arguments.split() == taken


@pytest.mark.parametrize("name", commands())
def test_the_cli_page_has_every_option_of_a_command_and_no_other(name):
    text = (DOCS / "cli.md").read_text()
    heading = re.search(rf"^## spanledger {name}\b.*$", text, re.MULTILINE)
    assert heading
    listed = {option for row in table_rows(section(text, heading[0])) for option in re.findall(r"`(-[\w-]+)`", row[0])}
    if name == "serve":
        listed |= {setting.option for setting in SETTINGS}
    options = [one for one in commands()[name].params if one.param_type_name == "option"]
    assert listed == {text for one in options for text in (*one.opts, *one.secondary_opts)}


# The journal's bytes


@pytest.mark.parametrize(
    ("heading", "packed", "total"),
    [
        ("### Header: 64 bytes", "_HEADER", journal_format.HEADER_BYTES),
        ("### Frame header: 72 bytes", "_FRAME", 72),
    ],
)
def test_the_journal_page_has_the_layout_of_the_structs(heading, packed, total):
    layout: struct.Struct = getattr(journal_format, packed)
    rows = table_rows(section((DOCS / "journal-format.md").read_text(), heading))
    assert sum(int(size) for _, size, _, _ in rows) == total
    offset = 0
    for at, size, kind, _ in rows:
        assert int(at) == offset
        offset += int(size)
        if kind:
            assert struct.calcsize("<" + kind.strip("`")) == int(size)
    kinds = [kind.strip("`") for _, _, kind, _ in rows if kind]
    assert "<" + "".join(kinds[:-1] if packed == "_HEADER" else kinds) == layout.format


def test_the_reader_on_the_journal_page_reads_the_journal(recorded):
    reader = re.search(r"```python\n(.*?)```", (DOCS / "journal-format.md").read_text(), re.DOTALL)
    assert reader
    done = subprocess.run(
        [sys.executable, "-c", reader[1], str(recorded[0])], capture_output=True, text=True, check=True
    )
    frames = [line.split() for line in done.stdout.splitlines()]
    sent = json.loads((CAPTURE / "index.json").read_text())
    signals = {signal.label: str(int(signal)) for signal in Signal}
    expected = [[str(i), signals[one["signal"]]] for i, one in enumerate(sent, 1)]
    assert [frame[:2] for frame in frames] == [*expected, [str(len(sent) + 1), "0"]], "the last is of access"


# Operations


def test_operations_has_every_answer_with_its_codes():
    rows = table_rows(section((DOCS / "operations.md").read_text(), "## What a sender is told"))
    codes = {code.value[0]: code.name for code in grpc.StatusCode}
    listed = {row[0].strip("`"): (int(row[1]), row[2], row[3] == "yes") for row in rows}
    assert listed == {one.reason: (one.http_status, codes[one.rpc_code], one.retryable) for one in ANSWERS.values()}


def test_operations_has_every_error_of_the_store():
    rows = table_rows(section((DOCS / "operations.md").read_text(), "## What the command line and the log say"))
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    kinds = {name for name, one in vars(store_errors).items() if isinstance(one, type) and issubclass(one, Exception)}
    assert listed - kinds == {"UsageError", "FrontDoorError", "PortUnavailable"}
    assert kinds - listed == set()


# The model


def test_the_pages_have_every_dialect_and_every_key_of_their_files():
    text = section((DOCS / "model.md").read_text(), "## Dialects")
    files = {path for path in (ROOT / "store" / "model" / "dialects").glob("*.toml") if path.stem != "vocabulary"}
    rows = [row for row in table_rows((DOCS / "dialects.md").read_text()) if len(row) == 6]
    assert {row[0].strip("`") for row in rows} == {path.stem for path in files}
    keys = {key for path in files for key in tomllib.loads(path.read_text())}
    explained = {key for row in table_rows(text) for key in re.findall(r"`\[*(\w+)\]*`", row[0])}
    assert keys - explained == set()


# Decisions


def test_every_decision_has_its_four_parts_and_its_number():
    pages = sorted((DOCS / "adr").glob("*.md"))
    for number, page in enumerate(pages, 1):
        assert page.name.startswith(f"{number:04d}-")
        assert page.read_text().startswith(f"# {number:04d}. ")
        headings = re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE)
        assert headings == ["Context", "Decision", "Evidence", "Consequences"]


# Dependencies

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDED = {"The server": PROJECT["dependencies"], "The demo": PROJECT["optional-dependencies"]["demo"],
          "Development": PROJECT["optional-dependencies"]["dev"]}  # fmt: skip
# What packages write where an SPDX expression belongs.
SPDX = {
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD 2-Clause License": "BSD-2-Clause",
}


def licence_of(package: str) -> set[str]:
    """The alternatives of an installed package's licence, as SPDX names them."""
    said = importlib.metadata.metadata(package)
    classifiers = [one for one in said.get_all("Classifier") or [] if one.startswith("License ::")]
    if said["License-Expression"]:
        return set(said["License-Expression"].split(" OR "))
    if classifiers and all(one in SPDX for one in classifiers):
        return {SPDX[one] for one in classifiers}
    if not said["License"] and classifiers == ["License :: OSI Approved :: BSD License"]:
        return {"BSD-3-Clause"}  # google-re2, whose LICENSE file is that text.
    return {SPDX.get(said["License"], said["License"])}


def name_of(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found
    return found[0]


@pytest.mark.parametrize("heading", NEEDED)
def test_the_dependencies_page_has_every_package_of_pyproject_and_no_other(heading):
    rows = table_rows(section((DOCS / "dependencies.md").read_text(), f"## {heading}"))
    assert [row[0].strip("`") for row in rows] == [name_of(one) for one in NEEDED[heading]]
    for row in rows:
        assert len(row) == 4
        assert all(row)


@pytest.mark.parametrize("package", [name_of(one) for group in NEEDED.values() for one in group])
def test_the_licence_of_a_package_is_the_one_that_is_installed(package):
    rows = table_rows((DOCS / "dependencies.md").read_text())
    stated = next(row[2] for row in rows if row[0] == f"`{package}`")
    assert set(stated.split(" OR ")) == licence_of(package)


def test_whatever_the_product_imports_is_on_the_dependencies_page():
    owners = importlib.metadata.packages_distributions()
    own = {"access", "collector", "query", "spanledger", "store"}
    imported = {name for package in own for source in (ROOT / package).rglob("*.py") for name in imports_of(source)}
    known = {
        name.replace("_", "-").lower() for name in re.findall(r"`([\w-]+)`", (DOCS / "dependencies.md").read_text())
    }
    for name in imported - own - sys.stdlib_module_names:
        assert {one.replace("_", "-").lower() for one in owners[name]} & known, f"{name} is imported"


def imports_of(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]
