"""Mutations of bytes as bytes: what a broken wire, a broken sender or a hostile one does to any format.

Each takes the randomness, the content and another content to borrow from, and returns the changed content.
"""

from random import Random
from typing import Final

from bench.wire_tree import GROUP, GROUP_END, varint

_LENGTHS: Final = (0, 1, 127, 128, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1)
_FIELD_NUMBERS: Final = (0, 1, 2, 5, 9, 15, 2**29 - 1, 2**29, 2**61)


def flip_bits(random: Random, content: bytes, _other: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(random.randint(1, 4)):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def set_a_byte(random: Random, content: bytes, _other: bytes) -> bytes:
    changed = bytearray(content)
    if changed:
        changed[random.randrange(len(changed))] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
    return bytes(changed)


def delete_bytes(random: Random, content: bytes, _other: bytes) -> bytes:
    at = random.randint(0, len(content))
    return content[:at] + content[at + random.choice((1, 1, 2, 8, 100)) :]


def insert_bytes(random: Random, content: bytes, _other: bytes) -> bytes:
    at = random.randint(0, len(content))
    return content[:at] + random.randbytes(random.choice((1, 1, 2, 8))) + content[at:]


def repeat_bytes(random: Random, content: bytes, _other: bytes) -> bytes:
    at = random.randint(0, len(content))
    return content[:at] + content[at : at + random.choice((1, 2, 8, 64))] * 2 + content[at:]


def truncate(random: Random, content: bytes, _other: bytes) -> bytes:
    return content[: random.randint(0, len(content))]


def splice(random: Random, content: bytes, other: bytes) -> bytes:
    return content[: random.randint(0, len(content))] + other[random.randint(0, len(other)) :]


def append_a_body(_random: Random, content: bytes, other: bytes) -> bytes:
    return content + other


def overwrite_with_a_length(random: Random, content: bytes, _other: bytes) -> bytes:
    at = random.randint(0, len(content))
    length = varint(random.choice(_LENGTHS))
    return content[:at] + length + content[at + random.choice((0, 1, len(length))) :]


def overwrite_with_a_tag(random: Random, content: bytes, _other: bytes) -> bytes:
    at = random.randint(0, len(content))
    tag = varint(random.choice(_FIELD_NUMBERS) << 3 | random.randrange(8))
    return content[:at] + tag + content[at + random.randint(0, 2) :]


def append_an_open_group(random: Random, content: bytes, _other: bytes) -> bytes:
    return content + varint(random.choice((1, 2, 99)) << 3 | random.choice((GROUP, GROUP_END)))


BYTE_MUTATIONS: Final = (
    append_a_body,
    append_an_open_group,
    delete_bytes,
    flip_bits,
    insert_bytes,
    overwrite_with_a_length,
    overwrite_with_a_tag,
    repeat_bytes,
    set_a_byte,
    splice,
    truncate,
)
