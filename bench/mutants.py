"""Seeded mutants of OTLP protobuf requests, most of them made on the wire tree, so that many a mutant is still valid.

A mutant that is refused at its first byte tests little. Mutations of the tree keep the lengths right and go where two
decoders may differ; mutations of the bytes then break what is left. Equal seeds give equal mutants.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, cast

from google.protobuf.descriptor import Descriptor

from bench.byte_mutations import BYTE_MUTATIONS
from bench.wire_mutations import TREE_MUTATIONS
from bench.wire_tree import Node, parse
from store.otlp.schema import LEVELS, REQUEST_MESSAGES
from store.record import Signal

_BYTE_MUTATIONS_MAX: Final = 3
_TREE_MUTATIONS_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class Body:
    """A request to start from."""

    signal: Signal
    content: bytes


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed request, and the names of what was done to it, in order."""

    signal: Signal
    content: bytes
    mutations: tuple[str, ...]


def mutant(seed: int, number: int, bodies: Sequence[Body]) -> Mutant:
    """The mutant of that number. Seed, number and bodies alone decide it."""
    random = Random(f"{seed}:{number}")
    body = random.choice(bodies)
    content, names = body.content, list[str]()
    if random.random() < 0.85:
        tree = parse(cast("Descriptor", REQUEST_MESSAGES[body.signal].DESCRIPTOR), content)
        if random.random() < 0.7:
            _thin(random, tree, body.signal)
        for _ in range(random.randint(1, _TREE_MUTATIONS_MAX)):
            mutate = random.choice(TREE_MUTATIONS)
            mutate(random, tree)
            names.append(mutate.__name__)
        content = bytes(tree)
    if not names or random.random() < 0.25:
        others = [other.content for other in bodies if other.signal == body.signal or random.random() < 0.05]
        for _ in range(random.randint(1, _BYTE_MUTATIONS_MAX)):
            alter = random.choice(BYTE_MUTATIONS)
            content = alter(random, content, random.choice(others))
            names.append(alter.__name__)
    return Mutant(body.signal, content, tuple(names))


def _thin(random: Random, tree: Node, signal: Signal) -> None:
    """Leave few records: what is changed is then a larger part of what is compared."""
    for level in LEVELS[signal]:
        for node in tree.walk():
            if node.descriptor is None or level not in node.descriptor.fields_by_name:
                continue
            number = node.descriptor.fields_by_name[level].number
            items = [item for item in node.fields if item.number == number]
            kept = random.sample(items, min(len(items), random.randint(1, 2)))
            node.fields = [item for item in node.fields if item.number != number or any(item is k for k in kept)]
