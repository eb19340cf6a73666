"""OTLP/JSON made from OTLP protobuf, and seeded mutations of it.

Half of the mutations change the document (a value of another type, a key under its other name, a key that comes twice),
so that a mutant gets past the JSON parser; the others change its text. Equal seeds give equal mutants.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from copy import deepcopy
from random import Random
from typing import Any, Final, cast

from google.protobuf import json_format

from bench.byte_mutations import BYTE_MUTATIONS
from bench.mutants import Body, Mutant
from store.otlp.schema import REQUEST_MESSAGES

_MUTATIONS_MAX: Final = 4
_IDS: Final = ("traceId", "spanId", "parentSpanId")
_LEVELS: Final = (1, 2, 10, 30, 45, 46, 47, 48, 49, 50)  # json.dumps itself gives up at a thousand
_TEXT_LEVELS: Final = (10, 99, 1_000, 100_000)
_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 1.5, -0.0, 1e300, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**400),
    *("", "0", "-1", "18446744073709551616", "1e400", "NaN", "Infinity", "-Infinity", "true", "SPAN_KIND_CLIENT", "no"),
    *("ab" * 16, "AB" * 8, "zz" * 16, "0" * 32, "YWJj", "YWJ", "====", "\ud800", "\0", "東京 🛫", "x" * 300),
    *([], {}, [None], [[]], {"": None}, [{}], {"stringValue": "a", "intValue": "1"}),
)
_TOKENS: Final = (
    *(b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"-", b"null", b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\"),
    *(b"\\u0000", b"\\ud800", b"\\udc00\\ud800", b"\xff", b"\xef\xbb\xbf", b"\x00", b"/**/", b"'", b"\n"),
)


def to_otlp_json(body: Body) -> Any:
    """A request as the document an OTLP/JSON exporter would send."""
    message = REQUEST_MESSAGES[body.signal].FromString(body.content)
    document = json_format.MessageToDict(message, use_integers_for_enums=True)
    for holder in _objects(document):
        for name in _IDS:
            if name in holder:
                holder[name] = base64.b64decode(holder[name]).hex()
    return document


def json_mutant(seed: int, number: int, bodies: Sequence[Body]) -> Mutant:
    """The mutant of that number. Seed, number and bodies alone decide it."""
    random = Random(f"json:{seed}:{number}")
    body = random.choice(bodies)
    document = to_otlp_json(body)
    names: list[str] = []
    if random.random() < 0.8:
        for _ in range(random.randint(1, _MUTATIONS_MAX)):
            mutate = random.choice(DOCUMENT_MUTATIONS)
            mutate(random, document)
            names.append(mutate.__name__)
    content = _written(random, document)
    if not names or random.random() < 0.25:
        other = random.choice(bodies).content
        alter = random.choice((*BYTE_MUTATIONS, *TEXT_MUTATIONS, *TEXT_MUTATIONS))
        content = alter(random, content, other)
        names.append(alter.__name__)
    return Mutant(body.signal, content, tuple(names))


def _written(random: Random, document: Any) -> bytes:
    text = json.dumps(document, ensure_ascii=random.random() < 0.5, indent=random.choice((None, None, 1)))
    return text.encode("utf-8", "surrogatepass")


def _objects(document: Any) -> Iterator[dict[str, Any]]:
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield cast("dict[str, Any]", value)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _place(random: Random, document: Any) -> tuple[dict[str, Any], str] | None:
    """Some member of some object, every key as likely: a request is nearly all attributes."""
    by_key: dict[str, list[dict[str, Any]]] = {}
    for holder in _objects(document):
        for key in holder:
            by_key.setdefault(key, []).append(holder)
    if not by_key:
        return None
    key = random.choice(sorted(by_key))
    return random.choice(by_key[key]), key


def replace_a_value(random: Random, document: Any) -> None:
    found = _place(random, document)
    if found:
        holder, key = found
        holder[key] = deepcopy(random.choice(_VALUES))


def replace_a_value_by_its_like(random: Random, document: Any) -> None:
    found = _place(random, document)
    if found:
        holder, key = found
        alike = [value for value in _VALUES if type(value) is type(holder[key])]
        holder[key] = deepcopy(random.choice(alike or _VALUES))


def drop_a_key(random: Random, document: Any) -> None:
    found = _place(random, document)
    if found:
        holder, key = found
        del holder[key]


def add_a_key(random: Random, document: Any) -> None:
    found, other = _place(random, document), _place(random, document)
    if found and other:
        key = random.choice((other[1], "unknownField", "", "stringValue", "string_value", "asInt", "kvlistValue"))
        found[0][key] = deepcopy(random.choice(_VALUES))


def rename_a_key(random: Random, document: Any) -> None:
    """To snake_case, which protobuf's mapping accepts, beside the first name or instead of it."""
    found = _place(random, document)
    if found:
        holder, key = found
        snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in key)
        holder[snake] = holder[key] if random.random() < 0.3 else holder.pop(key)


def number_as_text_or_back(random: Random, document: Any) -> None:
    for holder in _objects(document):
        for key, value in holder.items():
            if random.random() < 0.3:
                if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 100:
                    holder[key] = int(value)
                elif type(value) is int:
                    holder[key] = random.choice((str(value), float(value) if abs(value) < 2**53 else value))


def wrap_a_value(random: Random, document: Any) -> None:
    found = _place(random, document)
    if found:
        holder, key = found
        holder[key] = [holder[key]] if random.random() < 0.5 else {key: holder[key]}


def nest_an_any_value(random: Random, document: Any) -> None:
    """Put an AnyValue inside arrays and maps, around the depth at which the runtime gives up."""
    holders = [holder for holder in _objects(document) if isinstance(holder.get("value"), dict)]
    if not holders:
        return
    holder = random.choice(holders)
    for _ in range(random.choice(_LEVELS)):
        if random.random() < 0.8:
            holder["value"] = {"arrayValue": {"values": [holder["value"]]}}
        else:
            holder["value"] = {"kvlistValue": {"values": [{"key": "k", "value": holder["value"]}]}}


def repeat_an_item(random: Random, document: Any) -> None:
    lists = [value for holder in _objects(document) for value in holder.values() if isinstance(value, list) and value]
    if lists:
        chosen = random.choice(lists)
        chosen.insert(random.randint(0, len(chosen)), random.choice(chosen))


DOCUMENT_MUTATIONS: Final = (
    add_a_key,
    drop_a_key,
    nest_an_any_value,
    number_as_text_or_back,
    rename_a_key,
    repeat_an_item,
    replace_a_value,
    replace_a_value_by_its_like,
    wrap_a_value,
)


def insert_a_token(random: Random, content: bytes, _other: bytes) -> bytes:
    at = random.randint(0, len(content))
    return content[:at] + random.choice(_TOKENS) + content[at:]


def repeat_a_member(random: Random, content: bytes, _other: bytes) -> bytes:
    """Text from one comma to the next, twice: now and then a key that comes twice."""
    commas = [at for at, byte in enumerate(content) if byte == ord(",")]
    if len(commas) < 2:
        return content
    first = random.randrange(len(commas) - 1)
    start, end = commas[first], commas[first + 1]
    return content[:end] + content[start:end] + content[end:]


def open_many_brackets(random: Random, content: bytes, _other: bytes) -> bytes:
    at = random.randint(0, len(content))
    levels = random.choice(_TEXT_LEVELS)
    opening, closing = random.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"[", b"")))
    return content[:at] + opening * levels + b"null" + closing * levels + content[at:]


TEXT_MUTATIONS: Final = (insert_a_token, open_many_brackets, repeat_a_member)
