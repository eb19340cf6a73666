"""Requests full of planted secrets: every rule in every place, escaped in several ways, in protobuf and in OTLP/JSON.

For a seed the same. Each value has a record of its own, so that what is done to one place cannot hide what is not done to
another. What must be refused is sown too: a secret in a header, in a path, in a field of the wrong type; nothing of it may be
in a log.
"""

import base64
import json
import re
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any, Final

from google.protobuf import json_format

from bench.plaintext import forms
from bench.planted import ALNUM, MAKERS, Planted, chars, planted
from bench.secret_places import CREDENTIAL_KEYS, PLACES, UNKNOWN_MEMBER, credential, enclosed, parts, wire
from store.otlp.schema import REQUEST_MESSAGES
from store.record import Signal

CREDENTIAL: Final = "credential_attribute"
RULES: Final = (*MAKERS, CREDENTIAL)
VALUES_A_REQUEST_MAX: Final = 40
_SIGNAL_WEIGHTS: Final = {Signal.TRACES: 6, Signal.LOGS: 2, Signal.METRICS: 2}
_REFUSED_EVERY: Final = 8
_BY_SIGNAL: Final = {signal: [place for place in PLACES if place.signal is signal] for signal in Signal}
_WORDS: Final = "what the agent said before and after it, in every turn of its history; "


class Coding(StrEnum):
    """How a request is written."""

    PROTOBUF = "protobuf"
    JSON = "JSON"


@dataclass(frozen=True, slots=True)
class Sown:
    """A value that was put somewhere. `forms` are those that may be nowhere afterwards."""

    rule: str
    place: str
    forms: frozenset[bytes]
    kept: bool


@dataclass(frozen=True, slots=True)
class Parcel:
    """One request with values in it. `path`, `headers` and `accepted` are of those that must be refused."""

    signal: Signal
    coding: Coding
    body: bytes
    sown: tuple[Sown, ...]
    accepted: bool = True
    path: str = ""
    headers: tuple[tuple[str, str], ...] = ()


def parcels(seed: int, values: int, now_ns: int) -> Iterator[Parcel]:
    """Requests with `values` values in all. `now_ns` is when they say that they were made."""
    rng = Random(f"secrets:{seed}")
    sown = request = 0
    while sown < values:
        request += 1
        if request % _REFUSED_EVERY == 0:
            parcel = _to_be_refused(rng, RULES[sown % len(MAKERS)], now_ns)
        else:
            signal = rng.choices(list(_SIGNAL_WEIGHTS), list(_SIGNAL_WEIGHTS.values()))[0]
            count = min(rng.randint(1, VALUES_A_REQUEST_MAX), values - sown)
            rules = [RULES[(sown + index) % len(RULES)] for index in range(count)]
            parcel = _parcel(rng, signal, rules, now_ns)
        sown += len(parcel.sown)
        yield parcel


def parcel_of(value: str, rule: str, now_ns: int, *, seed: int = 0) -> Parcel:
    """A request with one value in a span's attribute."""
    rng = Random(seed)
    place = next(place for place in PLACES if place.name == "span attribute")
    made = parts(rng, Signal.TRACES, now_ns)
    place.put(made, f"key {value}")
    body = wire(1, enclosed(made, b""))
    return Parcel(Signal.TRACES, Coding.PROTOBUF, body, (Sown(rule, place.name, forms(value), kept=True),))


def _parcel(rng: Random, signal: Signal, rules: list[str], now_ns: int) -> Parcel:
    in_json = rng.random() < 0.35
    body, documents, sown = bytearray(), list[dict[str, Any]](), list[Sown]()
    for rule in rules:
        one = _value(rng, rule)
        place = rng.choice([place for place in _BY_SIGNAL[signal] if place.in_json or not in_json])
        if rule == CREDENTIAL and signal is Signal.METRICS:
            one = _value(
                rng, "secret_field"
            )  # A metric has labels on its points and nothing that is called a credential.
        elif rule == CREDENTIAL:
            place = credential(rng.choice(CREDENTIAL_KEYS))
        carrier, text, more = _carried(rng, one) if one.rule != CREDENTIAL else ("as it is", one.text, ())
        made = parts(rng, signal, now_ns)
        behind = place.put(made, text) or b""
        body += wire(1, enclosed(made, behind))
        if in_json:
            documents.append(_document(signal, made, unknown=text if behind else None))
        kept = place.kept and not (in_json and behind)  # What OTLP/JSON does not know is left out.
        sown.append(Sown(one.rule, f"{place.name}, {carrier}", forms(one.secret) | frozenset(more), kept))
    if in_json:
        name = {Signal.TRACES: "Spans", Signal.LOGS: "Logs", Signal.METRICS: "Metrics"}[signal]
        return Parcel(signal, Coding.JSON, _written(rng, {f"resource{name}": documents}), tuple(sown))
    return Parcel(signal, Coding.PROTOBUF, bytes(body), tuple(sown))


def _value(rng: Random, rule: str) -> Planted:
    if rule == CREDENTIAL:
        secret = chars(rng, ALNUM, rng.randrange(12, 30))
        return Planted(rule, secret, secret)
    while True:
        one = planted(rng, rule)
        if len(one.secret) >= 8:  # A shorter one stands somewhere by chance.
            return one


# How a text is carried


def _carried(rng: Random, one: Planted) -> tuple[str, str, tuple[bytes, ...]]:
    """The name of a carrier, the text in it, and what else of the value the text says."""
    name = rng.choice(list(_CARRIERS))
    text = _CARRIERS[name](one.text)
    if name != "JSON, a character escaped":
        return name, text, ()
    # Where the value's middle is escaped, half of it must not stay beside the escape either.
    middle = len(one.secret) // 2
    is_plain = json.dumps(one.secret)[1:-1] == one.secret
    if not (is_plain and one.secret[middle].isalnum() and one.text.count(one.secret) == 1):
        return "JSON", _CARRIERS["JSON"](one.text), ()
    half, hidden = one.secret[:middle], f"u{ord(one.secret[middle]):04x}"
    text = json.dumps({"m": one.text.replace(one.secret, "\0", 1)})
    text = text.replace("\\u0000", f"{half}\\{hidden}{one.secret[middle + 1 :]}")
    return name, text, tuple((half + "\\" * count + hidden).encode() for count in (1, 2, 4))


def _nested(text: str) -> str:
    return json.dumps([{"role": "tool", "content": json.dumps({"a": f"x\n{text}\ny"}, ensure_ascii=False)}])


def _slashed(text: str) -> str:
    return json.dumps({"said": text}).replace("/", "\\/").replace("@", "\\u0040")


_CARRIERS: Final[dict[str, Callable[[str], str]]] = {
    "as it is": lambda text: text,
    "in words": lambda text: f"{_WORDS * 3}\n{text}\n{_WORDS * 20}",
    "JSON": lambda text: json.dumps({"role": "user", "content": text}),
    "JSON in JSON": _nested,
    "JSON, / and @ escaped": _slashed,
    "JSON, a character escaped": lambda text: text,
    "other letters": lambda text: f"„Grüße“ {text} — 謝謝",
}


# OTLP/JSON


def _document(signal: Signal, made: Any, unknown: str | None) -> dict[str, Any]:
    """A ResourceSpans, ResourceLogs or ResourceMetrics as OTLP/JSON: ids are hexadecimal."""
    request = REQUEST_MESSAGES[signal].FromString(wire(1, enclosed(made, b"")))
    [outer] = next(iter(json_format.MessageToDict(request, use_integers_for_enums=True).values()))
    # What a place has put into scope and record is read back with them.
    record: dict[str, Any] = next(value for key, value in outer.items() if key.startswith("scope"))[0]
    [items] = [value for key, value in record.items() if key in ("spans", "logRecords", "metrics")]
    for holder in (*items, *items[0].get("links", ())):
        for name in ("traceId", "spanId"):
            if name in holder:
                holder[name] = _hexadecimal(holder[name])
    if unknown is not None:
        items[0][UNKNOWN_MEMBER] = unknown
    return outer


def _hexadecimal(text: str) -> str:
    return base64.b64decode(text).hex()


def _written(rng: Random, document: dict[str, Any]) -> bytes:
    text = json.dumps(document, ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.3:
        text = text.replace("/", "\\/").replace("@", "\\u0040")
    return text.encode()


# What must be refused


def _to_be_refused(rng: Random, rule: str, now_ns: int) -> Parcel:
    one = _value(rng, rule)
    name = rng.choice(list(_REFUSED))
    parcel = _REFUSED[name](rng, one, now_ns)
    return Parcel(
        Signal.TRACES, parcel[0], parcel[1], (Sown(one.rule, f"refused: {name}", forms(one.secret), kept=False),),
        accepted=False, path=parcel[2], headers=parcel[3],
    )  # fmt: skip


_Refused = tuple[Coding, bytes, str, tuple[tuple[str, str], ...]]


def _span_json(span: dict[str, Any]) -> bytes:
    ids = {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331"}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [ids | span]}]}]}).encode()


def _in_json(said: Callable[[str], bytes]) -> Callable[[Random, Planted, int], _Refused]:
    return lambda _rng, one, _now_ns: (Coding.JSON, said(one.text), "", ())


def _cut(_rng: Random, one: Planted, now_ns: int) -> _Refused:
    return Coding.PROTOBUF, parcel_of(one.secret, one.rule, now_ns).body[:-1], "", ()


def _header(name: str) -> Callable[[Random, Planted, int], _Refused]:
    def made(_rng: Random, one: Planted, _now_ns: int) -> _Refused:
        said = "".join(character for character in one.secret if character in string.printable[:95])
        return Coding.PROTOBUF, b"", "", ((name, said),)

    return made


def _path(form: str) -> Callable[[Random, Planted, int], _Refused]:
    return lambda _rng, one, _now_ns: (
        Coding.PROTOBUF, b"", form.format(re.sub(r"[^0-9A-Za-z._~+@:/=-]", "", one.secret)), (),
    )  # fmt: skip


_REFUSED: Final[dict[str, Callable[[Random, Planted, int], _Refused]]] = {
    "a kind that is none": _in_json(lambda text: _span_json({"kind": text})),
    "a time that is none": _in_json(lambda text: _span_json({"startTimeUnixNano": text})),
    "an id that is none": _in_json(lambda text: _span_json({"traceId": text})),
    "bytes that are none": _in_json(
        lambda text: _span_json({"attributes": [{"key": "k", "value": {"bytesValue": f"{text} !"}}]})
    ),
    "a text where a list belongs": _in_json(lambda text: _span_json({"attributes": text})),
    "a second value": _in_json(lambda text: _span_json({"name": text, "name2": text}).replace(b'"name2"', b'"name"')),
    "no JSON": _in_json(lambda text: _span_json({"name": text})[:-4] + text.encode()),
    "a body that is cut": _cut,
    "a content encoding": _header("content-encoding"),
    "a content type": _header("content-type"),
    "a key that is none": _header("authorization"),
    "a query": _path("/v1/traces?api_key={}"),
    "a path": _path("/v1/{}"),
}
