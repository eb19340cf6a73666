"""The pages of docs/agents as data: their blocks and programs, the captures and scenarios they stand on, the holes they list.

A block of a program begins with a comment that names its file; a block of shell sets the environment and runs the program.
"""

import ast
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
AGENTS = ROOT / "docs" / "agents"
SCENARIOS = "tests/fixtures/scenarios/"
_EXPORT = re.compile(r"^export (?:.|\\\n)*$", re.MULTILINE)
_ENVIRONMENT_SECONDS = 30


@dataclass(frozen=True)
class Page:
    """One page of docs/agents."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def beginning(self) -> str:
        """What stands before the first section: what was tried, and the evidence."""
        return self.text.partition("\n## ")[0]

    def blocks(self, language: str) -> list[str]:
        return re.findall(rf"^```{language}\n(.*?)^```", self.text, re.DOTALL | re.MULTILINE)

    def programs(self) -> dict[str, str]:
        """Sources of Python programs by the name of their file."""
        return {block.splitlines()[0].removeprefix("# "): block for block in self.blocks("python")}

    def captures(self) -> list[str]:
        """The captures that its beginning names as evidence."""
        said = self.beginning.partition("Evidence: ")[2]
        return [name for name in re.findall(r"`([\w.-]+)`", said) if "/" not in name and not name.endswith(".py")]

    def scenarios(self) -> list[str]:
        """The programs of the scenarios that it names."""
        return re.findall(rf"`{SCENARIOS}(\w+\.py)`", self.beginning)

    def versions(self, word: str) -> list[tuple[str, str]]:
        """Packages and versions of the line that begins with this word ("Executed with", "Tried with")."""
        said = re.search(rf"^{word}: (.*)$", self.beginning, re.MULTILINE)
        return (
            [(name, version.rstrip(".")) for name, version in re.findall(r"([\w-]+) (\d[\w.]*)", said[1])]
            if said
            else []
        )

    def holes(self) -> list[str]:
        """The first column of its table of what is not sent."""
        table = self.text.partition("## What it does not send")[2]
        rows = [line.split("|") for line in table.splitlines() if line.startswith("|")]
        return [row[1].strip() for row in rows[2:]]

    def environment(self) -> dict[str, str]:
        """What its shell blocks export, as a shell that had nothing would have it."""
        exports = "\n".join(found[0] for block in self.blocks("sh") for found in _EXPORT.finditer(block))
        given = {"PATH": os.environ["PATH"], "OPENAI_API_KEY": "unused", "ANTHROPIC_API_KEY": "unused"}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{exports}\nenv -0"],
            env=given, capture_output=True, text=True, check=True, timeout=_ENVIRONMENT_SECONDS,
        )  # fmt: skip
        pairs = dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)
        return {name: pairs[name] for name in re.findall(r"\b([A-Z_]+)=", exports)}


PAGES = [Page(path) for path in sorted(AGENTS.glob("*.md")) if path.name != "README.md"]
INDEX = Page(AGENTS / "README.md")


def imported(source: str) -> Iterator[tuple[str, str]]:
    """(module, name) of everything that a program imports; a module as a whole has the name `*`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "*") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)
