"""English and code for the workloads: the standard library's docstrings and sources, which every Python has.

Random words would compress and repeat unlike anything an agent says. The pool depends on the interpreter's version (its
`digest` goes into every result); the sizes that a workload draws do not, so another Python gives other words in bodies
of nearly the same length.
"""

import inspect
import re
import sysconfig
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Final

# Left out because distributions package them apart: with them the pool would differ between machines of one version.
_PACKAGED_APART: Final = frozenset(
    {"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "ensurepip", "tkinter", "turtledemo"}
)
_TABLES: Final = "encodings"  # Character tables: neither English nor code that anybody reads.
_DOCSTRING: Final = re.compile(r'"""(.*?)"""', re.DOTALL)
_DOCSTRING_CHARS_MIN: Final = 120  # A shorter one says what a name says already.
_CHARS_MIN: Final = 1_000_000  # Below this a run's tool results would repeat those of its neighbours.


class NoText(Exception):
    """The interpreter came without the sources of its standard library."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Two pools of text to cut pieces from. `digest` names them: 16 hex digits."""

    prose: str
    code: str
    digest: str

    def english(self, rng: Random, chars: int) -> str:
        """About `chars` characters of prose, beginning at a line."""
        return _cut(self.prose, rng, chars)

    def source(self, rng: Random, chars: int) -> str:
        """About `chars` characters of Python, beginning at a line."""
        return _cut(self.code, rng, chars)


@cache
def texts() -> Texts:
    """The pools of this interpreter. Raises NoText where its standard library has no sources."""
    folder = Path(sysconfig.get_path("stdlib"))
    sources = [path.read_text("utf-8", "ignore") for path in sorted(folder.rglob("*.py")) if _wanted(path, folder)]
    code = "\n".join(sources)
    docstrings = (match for source in sources for match in _DOCSTRING.findall(source))
    prose = "\n\n".join(inspect.cleandoc(text) for text in docstrings if len(text) >= _DOCSTRING_CHARS_MIN)
    if min(len(code), len(prose)) < _CHARS_MIN:
        raise NoText(
            f"{folder} holds {len(code):,} characters of source and {len(prose):,} of docstrings, and each must have "
            f"{_CHARS_MIN:,}: run the benchmark with a Python whose standard library is installed as .py files"
        )
    return Texts(prose, code, sha256(code.encode()).hexdigest()[:16])


def _wanted(path: Path, folder: Path) -> bool:
    parts = path.relative_to(folder).parts
    return parts[0] != _TABLES and not _PACKAGED_APART.intersection(parts)


def _cut(pool: str, rng: Random, chars: int) -> str:
    start = int(rng.random() * (len(pool) - chars - 1))
    # A line longer than this is a table; then the middle of it will do.
    line = pool.find("\n", start, start + 400) + 1 or start
    return pool[line : line + chars]
