"""Hostile cases about loss: killed at random moments, asked to end at full load, a full disk.

Each ends with the same question, put to the API span by span: is everything that was acknowledged there, and there once?
"""

import os
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from bench.acks import AckJournal, Comparison, compare
from bench.hostile_server import HostileServer
from bench.outcomes import CannotRun, Check, Outcome, at_most, nothing
from bench.senders import RETRYABLE_GRPC, RETRYABLE_HTTP, Senders
from bench.server import ServerFailed
from bench.span_stamp import padded

SEED: Final = 20_261_120
EXIT_SECONDS_MAX: Final = 10.0  # What the product promises after SIGTERM.
_FIRST_ACK_SECONDS_MAX: Final = 60.0
_STARTING_EVERY: Final = 8  # Every so many rounds the kill comes while the server starts and mends.


def loss_checks(found: Comparison) -> tuple[Check, ...]:
    """What must hold of every comparison of acks and record."""
    return (
        nothing("acknowledged spans missing", found.missing),
        nothing("spans doubled", found.doubled),
        nothing("spans that nobody sent", found.foreign),
        nothing("requests stored in part", found.torn),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """kill -9 at random moments under load, always on the same data folder."""

    rounds: int
    load_seconds_max: float
    connections: int = 8

    def run(self, folder: Path) -> Outcome:
        random = Random(SEED)
        starting = 0
        begun = time.perf_counter()
        with AckJournal(folder / "acks") as journal, HostileServer(folder / "data") as server:
            for number in range(1, self.rounds + 1):
                if number % _STARTING_EVERY == 0:
                    server.launch()
                    time.sleep(random.uniform(0, 2.0))
                    starting += 1
                else:
                    self._round(server, journal, number, random)
                server.kill()
            server.start()
            caught_up = server.caught_up()
            found = compare(server, journal.requests())
            quarantined: int = server.readiness()["quarantined_frames"]
            status, _ = server.stop()
            cuts, damaged = server.log_events("journal_torn_tail_cut"), server.log_events("journal_frame_damaged")
        return Outcome(
            f"{self.rounds:,} rounds of kill -9 under {self.connections} senders (HTTP and gRPC), {starting} of them while "
            f"starting; {found.acked:,} spans acknowledged in {journal.count:,} requests",
            {
                "rounds": self.rounds,
                "acked_spans": found.acked,
                "unacked_spans_present": found.unacked_present,
                "torn_tails_cut": cuts,
                "last_catch_up_seconds": caught_up,
                "seconds": time.perf_counter() - begun,
            },
            (
                *loss_checks(found),
                nothing("frames quarantined", quarantined),
                nothing("frames damaged", damaged),
                Check("exit status 0 at the end", str(status), status == 0),
            ),
        )

    def _round(self, server: HostileServer, journal: AckJournal, number: int, random: Random) -> None:
        server.start()
        since = journal.count
        with Senders(server, journal, connections=self.connections, spans_max=20, seed=number) as senders:
            if not senders.wait_for(lambda tally: tally.acks > 0, _FIRST_ACK_SECONDS_MAX):
                raise ServerFailed(f"round {number}: no acknowledgement came; {senders.tally}\n{server.log_end()}")
            time.sleep(random.uniform(0, self.load_seconds_max))
            if not server.alive:
                raise ServerFailed(f"round {number}: the server ended by itself:\n{server.log_end()}")
            server.kill()
        assert journal.count > since


@dataclass(frozen=True, slots=True, kw_only=True)
class Sigterm:
    """SIGTERM at full load: in time, with status 0, and everything acknowledged there after the restart."""

    rounds: int
    load_seconds: float
    connections: int = 16

    def run(self, folder: Path) -> Outcome:
        seconds: list[float] = []
        statuses: list[int] = []
        with AckJournal(folder / "acks") as journal, HostileServer(folder / "data") as server:
            for number in range(1, self.rounds + 1):
                server.start()
                with Senders(server, journal, connections=self.connections, spans_max=60, seed=number) as senders:
                    time.sleep(self.load_seconds)
                    if not senders.tally.acks:
                        raise ServerFailed(f"nothing was acknowledged in {self.load_seconds:g} s: {senders.tally}")
                    status, took = server.stop()
                    statuses.append(status)
                    seconds.append(took)
            behind = server.log_events("view_behind_at_close")
            server.start()
            caught_up = server.caught_up()
            found = compare(server, journal.requests())
            server.stop()
        return Outcome(
            f"SIGTERM {self.rounds} times after {self.load_seconds:g} s of {self.connections} senders at full speed; "
            f"{found.acked:,} spans acknowledged",
            {
                "rounds": self.rounds,
                "acked_spans": found.acked,
                "exit_seconds_max": max(seconds),
                "ends_with_the_view_behind": behind,
                "last_catch_up_seconds": caught_up,
            },
            (
                at_most("exit after", max(seconds), EXIT_SECONDS_MAX, "s"),
                Check("exit status 0", ", ".join(sorted(map(str, set(statuses)))), set(statuses) == {0}),
                *loss_checks(found),
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FullDisk:
    """The data folder on a small file system that fills up, and gets room again after a while.

    `reserve_mb` is what the server keeps free (`disk_reserve_mb`); with 0 it runs into the end of the disk itself.
    """

    disk_mb: int
    full_seconds: float
    reserve_mb: int = 0
    connections: int = 4

    PAYLOAD_BYTES = 200_000  # Of noise in hexadecimal: 100 KB once a segment, and whenever the view meets it anew.
    RECOVERY_SECONDS_MAX = 10.0

    def run(self, folder: Path) -> Outcome:
        with self._disk(folder / "disk") as disk, AckJournal(folder / "acks") as journal:
            filler = disk / "filler"
            # The room that will come back: the disk is full long before it is.
            filler.write_bytes(bytes(self.disk_mb * 1024 * 1024 // 2))
            with HostileServer(disk / "data", "--disk-reserve-mb", str(self.reserve_mb)) as server:
                # The log would share the disk that fills up.
                server.log = folder / "server.log"
                return self._fill(server, journal, filler)

    def _fill(self, server: HostileServer, journal: AckJournal, filler: Path) -> Outcome:
        server.start()
        stamp = padded(os.urandom(self.PAYLOAD_BYTES // 2).hex())
        large = Senders(server, journal, connections=self.connections, spans_max=4, seed=SEED, stamp=stamp, retry=True)
        # These still fit into the segment that is there, so the view has something to write when there is no room for it.
        small = Senders(server, journal, connections=2, spans_max=4, seed=SEED + 1, retry=True)
        with large:
            if not large.wait_for(lambda now: sum(now.refusals.values()) >= 2 * self.connections, 300):
                raise ServerFailed(f"the disk did not fill up: {large.tally}\n{server.log_end()}")
            _take_the_rest(filler.with_name("rest"))
            with small:
                time.sleep(self.full_seconds)
                refused, acked_before = dict(large.tally.refusals), large.tally.acks
                alive = server.alive
                reads = server.ask("/v1/runs", limit=1)[0] if alive else 0
                filler.unlink()
                freed = time.perf_counter()
                came_back = large.wait_for(lambda now: now.acks >= acked_before + self.connections, 60)
        later = [at for at, _ in large.tally.latencies if at > freed]
        recovered = min(later) - freed if later else None
        still_alive = server.alive and came_back
        caught_up = server.wait_until(lambda now: now["view_position"] == now["journal_position"], 120)
        found = compare(server, journal.requests())
        ready: bool = server.readiness()["ready"]
        view_failures = server.log_events("projection_failed")
        status, _ = server.stop()
        tallies = (large.tally, small.tally)
        codes = {code for tally in tallies for code in tally.refusals}
        broken = sum(sum(tally.failures.values()) + tally.breaks for tally in tallies)
        return Outcome(
            f"a tmpfs of {self.disk_mb} MB ({self.reserve_mb} MB reserved) filled to the last byte by {self.connections} "
            f"senders, full for {self.full_seconds:g} s ({sum(refused.values()):,} refusals), then given "
            f"{self.disk_mb // 2} MB back",
            {
                "acked_spans": found.acked,
                "refusals": sum(refused.values()),
                "view_writes_failed": view_failures,
                "recovered_after_seconds": -1.0 if recovered is None else recovered,
                "view_caught_up_after_seconds": -1.0 if caught_up is None else caught_up,
            },
            (
                Check("every refusal is retryable", ", ".join(sorted(codes)), codes <= RETRYABLE_HTTP | RETRYABLE_GRPC),
                nothing("other failures and broken connections", broken),
                Check(
                    "the server lives on and answers reads while full", f"GET /v1/runs {reads}", alive and reads == 200
                ),
                at_most("acks again after room", recovered, self.RECOVERY_SECONDS_MAX, "s"),
                Check("it stays alive, alone", str(still_alive), still_alive),
                Check("ready, view caught up", f"ready {ready}", ready and caught_up is not None),
                *loss_checks(found),
                Check("exit status 0 at the end", str(status), status == 0),
            ),
        )

    @contextmanager
    def _disk(self, place: Path) -> Generator[Path]:
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={self.disk_mb}m", "tmpfs", str(place)]
        try:
            mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise CannotRun(f"`mount` cannot be run: {error.strerror}") from error
        if mounted.returncode:
            raise CannotRun(f"a small file system can only be mounted by root: {mounted.stderr.strip()}")
        try:
            yield place
        finally:
            subprocess.run(["umount", "-l", str(place)], check=True)


def _take_the_rest(path: Path) -> None:
    """Fill a file system until it has not a byte left."""
    with path.open("wb", buffering=0) as file:
        for size in (1024 * 1024, 4096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
