"""What a value must pass beside its pattern: check digits, lengths by country, the shape of what is random.

Each is a function of the value's bytes (of the group that is redacted, with the separators that people write) and says
whether it is what the rule means. They keep a rule from what only looks like it; none of them is needed to find anything.
"""

import re
import tomllib
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Callable
from importlib import resources
from ipaddress import AddressValueError, IPv6Address
from math import log2
from typing import Any, Final

import msgspec

Validator = Callable[[bytes], bool]

_SEPARATORS: Final = b" -./()"
# Fewer bits a character are words; a random text of 20 characters has 4 and more.
_RANDOM_BITS_MIN: Final = 3.0
_LONG_TOKEN: Final = 32

_COUNTRIES: Final[dict[str, Any]] = tomllib.loads(
    resources.files("collector.redaction").joinpath("countries.toml").read_text()
)
_PHONE: Final[dict[str, Any]] = {
    **dict.fromkeys(_COUNTRIES["phone_others"]["codes"].split(), _COUNTRIES["phone_others"]["digits"]),
    **_COUNTRIES["phone"],
}
_IBAN_LENGTHS: Final = {entry[:2]: int(entry[3:]) for entry in _COUNTRIES["iban"]["lengths"].split()}
_ISSUERS: Final[list[tuple[int, int, list[int]]]] = _COUNTRIES["card"]["issuers"]
_FILE_ENDINGS: Final = frozenset(_COUNTRIES["email"]["endings"].encode().split())
_NOT_PEOPLE: Final = frozenset(name.encode() for name in _COUNTRIES["email"]["not_people"])
_ODD: Final = dict(zip(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", _COUNTRIES["codice_fiscale"]["odd"], strict=True))

_PLACEHOLDER: Final = re.compile(
    rb"(?i)\W*(?:\$.*|\{.*|<.*|%[sdr(].*|\[redacted.*|\*+|x{3,}|\.{3,}|null|none|true|false|undefined|string|str|text|object|"
    rb"redacted|masked|hidden|required|optional|your[ _-].*|my[ _-]?(?:password|secret|api[ _-]?key|token)|changeme|"
    rb"pass(?:word|wd)?|pwd|secret|token|api_?key|os\.(?:environ|getenv).*|process\.env.*|self\..*|[a-z_][a-z0-9_.]*\(.*)\W*"
)


def luhn(digits: bytes) -> bool:
    """Whether the last of these ASCII digits checks those before it."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = digit - 48
        if place % 2:
            value = value * 2 - 9 * (value > 4)
        total += value
    return total % 10 == 0


def _bare(value: bytes) -> bytes:
    return value.translate(None, _SEPARATORS)


def _card(value: bytes) -> bool:
    digits = _bare(value)
    marks = {one for one in value if one in _SEPARATORS}
    if len(marks) > 1 or len(set(digits)) < 2:
        return False
    for low, high, lengths in _ISSUERS:
        if len(digits) in lengths and low <= int(digits[: len(str(low))]) <= high:
            return luhn(digits)
    return False


def _iban(value: bytes) -> bool:
    text = value.replace(b" ", b"").decode()
    # Words behind the number can look like more of it.
    length = _IBAN_LENGTHS.get(text[:2], 0)
    return len(text) == length and int("".join(str(int(one, 36)) for one in text[4:] + text[:4])) % 97 == 1


def _phone(value: bytes) -> bool:
    if value.count(b".") == 1 or value.count(b"(") != value.count(b")"):
        return False  # A number with a fraction, or half a term.
    digits = _bare(value)[1:].decode()
    if len(set(digits)) < 3:
        return False
    for length in (1, 2, 3):
        low, high = _PHONE.get(digits[:length], (1, 0))
        if low <= len(digits) - length <= high:
            return True
    return False


def _email(value: bytes) -> bool:
    local, _, domain = value.replace(b"%40", b"@").rpartition(b"@")
    ending = domain.rpartition(b".")[2].lower()
    return ending not in _FILE_ENDINGS and local.lower() not in _NOT_PEOPLE


def _us_ssn(value: bytes) -> bool:
    area, group, serial = value.split(b"-")
    return area not in (b"000", b"666") and group != b"00" and serial != b"0000"


def _uk_nino(value: bytes) -> bool:
    return value[:2] not in (b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ")


def _de_steuer_id(value: bytes) -> bool:
    digits = _bare(value)
    # One digit comes twice or three times among the first ten, no other more than once.
    counts = sorted((digits[:10].count(one) for one in set(digits[:10])), reverse=True)
    if counts[0] not in (2, 3) or counts[1] != 1:
        return False
    product = 10
    for digit in digits[:10]:
        product = ((digit - 48 + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == digits[10] - 48


def _fr_nir(value: bytes) -> bool:
    text = value.replace(b" ", b"")
    month = int(text[3:5])
    if not (1 <= month <= 12 or 20 <= month <= 42 or month >= 50):
        return False
    number = int(text[:13].replace(b"2A", b"19").replace(b"2B", b"18"))
    return 97 - number % 97 == int(text[13:])


def _es_dni(value: bytes) -> bool:
    text = value.replace(b"-", b"")
    number = bytes((b"012"[b"XYZ".index(text[0])],)) + text[1:-1] if text[0] in b"XYZ" else text[:-1]
    return b"TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == text[-1]


def _it_codice_fiscale(value: bytes) -> bool:
    total = sum(_ODD[one] for one in value[:15:2])
    total += sum(one - 48 if one < 58 else one - 65 for one in value[1:15:2])
    return total % 26 == value[15] - 65


def _nl_bsn(value: bytes) -> bool:
    digits = [one - 48 for one in value.replace(b".", b"")]
    total = sum(weight * digit for weight, digit in zip((9, 8, 7, 6, 5, 4, 3, 2, -1), digits, strict=True))
    return total % 11 == 0 and any(digits)


def _ip_v6(value: bytes) -> bool:
    try:
        IPv6Address(value.decode())
    except AddressValueError:
        return False
    return True


def _has_digit(value: bytes) -> bool:
    return any(48 <= one < 58 for one in value)


def _bits(value: bytes) -> float:
    """Bits a character, as its own characters are spread."""
    return -sum(share * log2(share) for one in set(value) if (share := value.count(one) / len(value)))


def _mixed(value: bytes) -> bool:
    """Random letters and digits, not words."""
    return _has_digit(value) and value.lower() != value and _bits(value) >= _RANDOM_BITS_MIN


def _openai_key(value: bytes) -> bool:
    return not value.startswith(b"sk-ant-") and _has_digit(value) and _bits(value) >= _RANDOM_BITS_MIN and _dense(value)


def _dense(value: bytes) -> bool:
    """Whether some piece between hyphens is as long as no word is, and has a digit: names have hyphens and words."""
    return any(len(piece) >= 16 and _has_digit(piece) for piece in re.split(rb"[-_]", value))


def _authorization(value: bytes) -> bool:
    """A token behind `Bearer` has digits and is random; a pair behind `Basic` is base64 with a colon inside."""
    try:
        decoded = b64decode(value + b"=" * (-len(value) % 4), validate=True)
        if b":" in decoded and decoded.isascii() and decoded.decode().isprintable():
            return True
    except ValueError:
        pass
    is_words = value.islower() and re.fullmatch(rb"[a-z]+(?:[._/-][a-z0-9]+)*", value) and len(value) < _LONG_TOKEN
    return len(value) >= 16 and _has_digit(value) and not is_words and _bits(value) >= _RANDOM_BITS_MIN


def _jwt(value: bytes) -> bool:
    header = value.partition(b".")[0]
    try:
        said = msgspec.json.decode(urlsafe_b64decode(header + b"=" * (-len(header) % 4)))
    except (ValueError, msgspec.DecodeError):
        return False
    return isinstance(said, dict) and ("alg" in said or "typ" in said)


def _not_placeholder(value: bytes) -> bool:
    return not _PLACEHOLDER.fullmatch(value[:200])


VALIDATORS: Final[dict[str, Validator]] = {
    "authorization": _authorization,
    "card": _card,
    "de_steuer_id": _de_steuer_id,
    "email": _email,
    "es_dni": _es_dni,
    "fr_nir": _fr_nir,
    "has_digit": _has_digit,
    "iban": _iban,
    "ip_v6": _ip_v6,
    "it_codice_fiscale": _it_codice_fiscale,
    "jwt": _jwt,
    "mixed": _mixed,
    "nl_bsn": _nl_bsn,
    "not_placeholder": _not_placeholder,
    "openai_key": _openai_key,
    "phone": _phone,
    "uk_nino": _uk_nino,
    "us_ssn": _us_ssn,
}
"""By the name that a rule calls it."""
