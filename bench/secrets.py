"""`python -m bench.secrets`: secrets through every door of a server that is killed, and then looked for everywhere.

    python -m bench.secrets [--values 20000] [--kills 20] [--seed N] [--print]

Requests with planted values are sent over gRPC, HTTP and `spanledger import` until each is acknowledged, while the server is
ended with SIGKILL at random moments and started again on the same folder. After each kill and at the end every byte of the
data folder is looked at; at the end also the journal decompressed, the view through SQL, the server's log, its stdout, and
the pages that were asked for meanwhile.

A search that finds nothing proves something only if it finds what is there: `--redaction off` does the same without it, and
then every value must be found. The exit status is 1 where one was found that should not be, or, with `off`, was not.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any, Final

from bench.doors import imported
from bench.hostile_server import HostileServer
from bench.load import connect
from bench.plaintext import Place, Plaintext
from bench.run import say
from bench.secret_senders import Senders, SendingFailed, Waiting
from bench.server import ServerFailed
from bench.sowing import Sown, parcel_of, parcels
from store.folder import JOURNAL
from store.journal.segments import list_segments

PAGE: Final = Path(__file__).parent / "SECRETS.md"
SEED: Final = 20_261_120
IMPORTED_SHARE: Final = 0.15
_PAGE_SECONDS: Final = 0.25
_KEY_RULE: Final = "spanledger_key"
_LAST: Final = 10**9


@dataclass(slots=True)
class Findings:
    """What was sown and what was found. `found` is by place; values are numbers in `sown`."""

    seed: int
    redaction: str
    kills: int
    sown: list[Sown]
    found: dict[Place, set[int]] = field(default_factory=dict[Place, set[int]])
    requests: Counter[str] = field(default_factory=Counter[str])
    searched_bytes: int = 0
    seconds: float = 0.0

    def add(self, found: dict[Place, set[int]]) -> None:
        for place, numbers in found.items():
            self.found.setdefault(place, set()).update(numbers)

    @property
    def everywhere(self) -> set[int]:
        return set[int]().union(*self.found.values())

    @property
    def expected(self) -> set[int]:
        """The values that a server which does not redact keeps."""
        return {number for number, one in enumerate(self.sown) if one.kept}

    @property
    def good(self) -> bool:
        return not self.everywhere if self.redaction == "on" else self.expected <= self.everywhere


class Trial:
    """One server's lives over one data folder, in `folder`, which is empty."""

    def __init__(self, folder: Path, *, values: int, kills: int, seed: int, redaction: str = "on") -> None:
        self._folder = folder
        self._rng = Random(f"trial:{seed}")
        self._kills = kills
        self._server = HostileServer(folder / "data", "--redaction", redaction)
        self._key_file = folder / "ingest.key"
        key = self._made_key("ingest", self._key_file)
        self._server.key = self._made_key("operator", folder / "operator.key")
        now_ns = time.time_ns()
        # The key in use is one more secret: an agent has it in its environment.
        whole = [parcel_of(key, _KEY_RULE, now_ns), *parcels(seed, values, now_ns)]
        self._waiting = Waiting(whole, key, self._rng)
        self.findings = Findings(seed, redaction, kills, [one for parcel in whole for one in parcel.sown])
        self._plaintext = Plaintext([one.forms for one in self.findings.sown])

    def run(self) -> Findings:
        """Raises ServerFailed, SendingFailed."""
        begun = time.perf_counter()
        places = sorted(self._rng.randrange(1, self._waiting.total) for _ in range(self._kills))
        with self._server, (self._folder / "pages").open("wb") as pages:
            for life, acks in enumerate(places):
                self._server.start()
                with _Pages(self._server, pages):
                    self._import(beside_a_server=True)
                    with Senders(self._server, self._waiting, life):
                        self._waiting.wait_for(acks)
                        self._server.kill()
                self._search_files()
                self._import(beside_a_server=False)
            self._server.start()
            with _Pages(self._server, pages):
                with Senders(self._server, self._waiting, len(places)):
                    self._waiting.wait_for(_LAST)
                self._server.caught_up()
                self._server.stop()
            self._search_files()
        self._search_everything()
        self.findings.requests = self._waiting.answers
        self.findings.seconds = time.perf_counter() - begun
        return self.findings

    def _made_key(self, role: str, file: Path) -> str:
        command = ["keys", "create", "--role", role, "--name", role, "--key-file", str(file)]
        subprocess.run(
            [sys.executable, "-m", "spanledger", *command, "--data", str(self._folder / "data")],
            check=True,
            capture_output=True,
        )
        return file.read_text().strip()

    def _import(self, *, beside_a_server: bool) -> None:
        count = round(self._waiting.total * IMPORTED_SHARE / (2 * self._kills))
        taken = self._waiting.take(max(count, 1))
        if not taken:
            return
        data, files = self._folder / "data", self._folder / "files"
        done, said = imported(taken, data, files, self._rng, key_file=self._key_file, redaction=self.findings.redaction)
        self.findings.add({"what import says": self._plaintext.in_bytes(said)})
        self._waiting.ended(
            "import" if beside_a_server else "import without a server", taken, acknowledged=done, said=said
        )

    def _search_files(self) -> None:
        """What a killed server leaves, and the view's log above all: it is not compressed, and gone after the next start."""
        data = self._folder / "data"
        self.findings.add(self._plaintext.in_folder(data))
        self.findings.searched_bytes += sum(path.stat().st_size for path in data.rglob("*") if path.is_file())

    def _search_everything(self) -> None:
        data, findings = self._folder / "data", self.findings
        findings.add(self._plaintext.in_journal(data))
        findings.add(self._plaintext.in_view(data))
        findings.add({"log": self._plaintext.in_file(self._server.log)})
        findings.add({"stdout": self._plaintext.in_bytes(self._server.said)})
        findings.add({"/metrics and /readyz": self._plaintext.in_file(self._folder / "pages")})
        assert list_segments(data / JOURNAL), "there is no journal to look into"


class _Pages:
    """Asks for what anybody may ask for, again and again, on a thread of its own; what it is told goes to a file."""

    def __init__(self, server: HostileServer, pages: Any) -> None:
        self._server = server
        self._pages = pages
        self._stop = Event()
        self._thread = Thread(target=self._ask, name="pages")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        while True:
            for path in ("/metrics", "/readyz"):
                try:
                    connection = connect(self._server.api)
                    try:
                        connection.request("GET", path, headers={"authorization": f"Bearer {self._server.key}"})
                        self._pages.write(connection.getresponse().read())
                    finally:
                        connection.close()
                except (OSError, HTTPException):
                    pass  # It was killed at this moment, and is looked at again in its next life.
            if self._stop.wait(_PAGE_SECONDS):
                return


def page(found: Findings) -> str:
    """The whole page."""
    by_rule, by_place = (
        Counter(one.rule for one in found.sown),
        Counter(one.place.partition(",")[0] for one in found.sown),
    )
    left = found.everywhere
    left_by_rule = Counter(found.sown[number].rule for number in left)
    left_by_place = Counter(found.sown[number].place.partition(",")[0] for number in left)
    looked = Counter(_kind(place) for place in found.found)
    hits = Counter[str]()
    for place, numbers in found.found.items():
        hits[_kind(place)] += len(numbers)
    lines = [
        "# Planted secrets: through every door, killed at random, looked for everywhere",
        "",
        f"Made by `python -m bench.secrets --values {len(found.sown) - 1} --kills {found.kills} --seed {found.seed}`",
        f"on Python {platform.python_version()}, {platform.machine()}, in {found.seconds:,.0f} s.",
        f"{len(found.sown):,} values in {sum(found.requests.values()):,} requests; the server was ended with SIGKILL",
        f"{found.kills} times; {found.searched_bytes / 1e6:,.0f} MB of files were searched, those that each kill left among",
        "them. A value is sought as it is, with JSON's escapes nested up to three times, percent-encoded, in base64 at any",
        "offset, and by its end alone. What must be refused (a key in a path, a header, a field of another type) is sent as",
        "well: nothing of it may be in a log. That the search finds what is there is tested with redaction off",
        "(`tests/bench/test_bench_secrets.py`).",
        "",
        "| looked at | of them | values found |",
        "|---|---|---|",
    ]
    lines += [f"| {kind} | {count} | {hits[kind]} |" for kind, count in sorted(looked.items())]
    lines += ["", "| door | requests |", "|---|---|"]
    lines += [f"| {door} | {count:,} |" for door, count in sorted(found.requests.items())]
    lines += ["", "| rule | planted | found |", "|---|---|---|"]
    lines += [f"| `{rule}` | {count} | {left_by_rule[rule]} |" for rule, count in sorted(by_rule.items())]
    lines += ["", "| place | planted | found |", "|---|---|---|"]
    lines += [f"| {place} | {count} | {left_by_place[place]} |" for place, count in sorted(by_place.items())]
    return "\n".join(lines) + "\n"


def _kind(place: Place) -> str:
    """What many places are together."""
    if place.startswith("view: "):
        return "columns of the view, through SQL"
    if place.startswith("frames of "):
        return "segments of the journal, decompressed"
    return "segments of the journal, raw" if place.endswith(".segment") else place


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.secrets", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--values", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--redaction", choices=["on", "off"], default="on", help="off shows that the search finds")
    parser.add_argument("--print", action="store_true", dest="shown", help="print the page instead of writing it")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the data folder goes (default: temporary)")
    asked = parser.parse_args(arguments)
    say(f"seed {asked.seed}")
    try:
        with TemporaryDirectory(prefix="spanledger-secrets-", dir=asked.folder) as folder:
            found = Trial(
                Path(folder), values=asked.values, kills=asked.kills, seed=asked.seed, redaction=asked.redaction
            ).run()
    except (SendingFailed, ServerFailed) as error:
        say(f"error: {error}")
        return 1
    told = {
        "seed": found.seed, "values": len(found.sown), "kept": len(found.expected), "found": len(found.everywhere),
        "kills": found.kills, "requests": sum(found.requests.values()), "seconds": round(found.seconds), "good": found.good,
    }  # fmt: skip
    say(json.dumps(told))
    for place, numbers in sorted(found.found.items()):
        for number in sorted(numbers)[:5] if found.redaction == "on" else ():
            say(f"{place} has a value of {found.sown[number].rule} that was sent in: {found.sown[number].place}")
    if asked.shown:
        print(page(found))
    elif found.redaction == "on":
        PAGE.write_text(page(found))
    return 0 if found.good else 1


if __name__ == "__main__":
    raise SystemExit(main())
