"""Fuzz both decoders, protobuf and JSON, with mutants of real captures; the official runtime says what is right.

    python -m bench.fuzz_decoders --decoder protobuf --mutations 100000
    python -m bench.fuzz_decoders --decoder both --seconds 600 --seed 7

Equal seeds give equal mutants, so a difference is found again by its number: `--start NUMBER --mutations 1`. Prints one
line of JSON a decoder on stdout, progress and differences on stderr; the exit status is 1 when there was a difference.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

from bench.decoder_oracle import Difference, check_json, compare
from bench.json_mutations import json_mutant
from bench.mutants import Body, Mutant, mutant
from store.record import Signal

CAPTURES: Final = Path(__file__).parents[1] / "tests" / "fixtures" / "captures"
SHOWN_MAX: Final = 20  # differences printed whole; one defect meets many mutants
PROGRESS_EVERY: Final = 5_000

Make = Callable[[int, int, Sequence[Body]], Mutant]
Check = Callable[[Signal, bytes], bool]
DECODERS: Final[dict[str, tuple[Make, Check]]] = {"protobuf": (mutant, compare), "json": (json_mutant, check_json)}


@dataclass(slots=True)
class Tally:
    """What became of the mutants of one run."""

    accepted: int = 0
    refused: int = 0
    differences: list[str] = field(default_factory=list[str])
    by_mutation: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    slowest: tuple[float, int] = (0.0, 0)
    """Seconds, and the number of the mutant."""

    def add(self, mutations: tuple[str, ...], answer: str) -> None:
        for name in mutations:
            self.by_mutation.setdefault(name, Counter())[answer] += 1


def read_captures(folder: Path = CAPTURES) -> list[Body]:
    """Every captured request below a folder of captures, in the order of their names."""
    signals = {signal.label: signal for signal in Signal}
    return [
        Body(signals[entry["signal"]], (index.parent / entry["file"]).read_bytes())
        for index in sorted(folder.glob("*/index.json"))
        for entry in json.loads(index.read_bytes())
    ]


def fuzz(
    decoder: str,
    bodies: Sequence[Body],
    *,
    seed: int,
    start: int = 0,
    mutations: int | None = None,
    seconds: float | None = None,
) -> Tally:
    """Run mutants from number `start` on, until there were `mutations` of them or `seconds` of CPU are over."""
    make, check = DECODERS[decoder]
    tally = Tally()
    began = time.process_time()
    for number in count(start):
        done = number - start
        now = time.process_time()
        if (mutations is not None and done >= mutations) or (seconds is not None and now - began >= seconds):
            return tally
        if done and not done % PROGRESS_EVERY:
            _say(f"{decoder}: {done} mutants, next is {number}, {len(tally.differences)} differences")
        made = make(seed, number, bodies)
        before = time.process_time()
        try:
            accepted = check(made.signal, made.content)
        except Difference as difference:
            tally.differences.append(f"{decoder} seed {seed} number {number} {made.mutations}: {difference}")
            tally.add(made.mutations, "different")
            if len(tally.differences) <= SHOWN_MAX:
                _say(tally.differences[-1])
        else:
            tally.accepted += accepted
            tally.refused += not accepted
            tally.add(made.mutations, "accepted" if accepted else "refused")
        tally.slowest = max(tally.slowest, (time.process_time() - before, number))
    raise AssertionError("count() does not end")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz_decoders", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--decoder", choices=[*DECODERS, "both"], default="both")
    parser.add_argument("--mutations", type=int, help="mutants for each decoder (default 100000 without --seconds)")
    parser.add_argument("--seconds", type=float, help="CPU seconds for each decoder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--captures", type=Path, default=CAPTURES, help="folder of captures, each with its index.json")
    options = parser.parse_args(arguments)
    bodies = read_captures(options.captures)
    if not bodies:
        parser.error(f"no captures in {options.captures}: it should hold folders with an index.json and the bodies")
    mutations = options.mutations
    if mutations is None and options.seconds is None:
        mutations = 100_000
    differences = 0
    for decoder in DECODERS if options.decoder == "both" else [options.decoder]:
        began = time.process_time()
        tally = fuzz(
            decoder, bodies, seed=options.seed, start=options.start, mutations=mutations, seconds=options.seconds
        )
        differences += len(tally.differences)
        _report(decoder, options.seed, tally, time.process_time() - began)
    return 1 if differences else 0


def _report(decoder: str, seed: int, tally: Tally, cpu_seconds: float) -> None:
    result = {
        "decoder": decoder,
        "seed": seed,
        "mutants": tally.accepted + tally.refused + len(tally.differences),
        "accepted": tally.accepted,
        "refused": tally.refused,
        "differences": len(tally.differences),
        "cpu_seconds": round(cpu_seconds, 1),
        "slowest_mutant": {"seconds": round(tally.slowest[0], 3), "number": tally.slowest[1]},
        "by_mutation": {name: dict(answers) for name, answers in sorted(tally.by_mutation.items())},
    }
    sys.stdout.write(json.dumps(result) + "\n")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
