"""Secrets and personal data to plant, and what only looks like them: made from a seed, none of it anybody's.

Every rule has a maker of its own, which knows the form of the value from its issuer's documentation and not from the rule:
check digits are computed here again. People and their addresses come from several countries.
"""

import base64
import json
import string
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final
from uuid import UUID

ALNUM: Final = string.ascii_letters + string.digits
URL_SAFE: Final = ALNUM + "-_"
BASE64: Final = ALNUM + "+/"
_HEX: Final = "0123456789abcdef"

_PEOPLE: Final = (
    "anna.schmidt",
    "jürgen.müller",
    "j.o'brien",
    "marie-claire.dubois",
    "paweł_kowalski",
    "li.wei88",
    "ana+news",
    "giulia.rossi",
    "søren.kierkegaard",
    "maria_garcia",
    "t.nguyen",
    "x",
    "olga.ivanova2",
    "a.b.c.d",
)
_DOMAINS: Final = (
    "corp.example-firma.de",
    "gmail.com",
    "mail.co.uk",
    "société.fr",
    "posteo.net",
    "stud.uni-graz.at",
    "x.example.com",
    "bücher.example.ch",
    "a1.io",
    "health.gov.au",
)


@dataclass(frozen=True, slots=True)
class Planted:
    """A value of some rule, in a text that it would come in. `secret` is what must be gone."""

    rule: str
    secret: str
    text: str


@dataclass(frozen=True, slots=True)
class LookAlike:
    """What no rule should take for anything."""

    kind: str
    text: str


def chars(rng: Random, alphabet: str, count: int) -> str:
    """Random text that has a digit, an upper-case and a lower-case letter where the alphabet has."""
    while True:
        text = "".join(rng.choices(alphabet, k=count))
        wanted = [
            one for one in (string.digits, string.ascii_uppercase, string.ascii_lowercase) if set(one) <= set(alphabet)
        ]
        if count < 8 or all(set(one) & set(text) for one in wanted):
            return text


def digits(rng: Random, count: int) -> str:
    return "".join(rng.choices(string.digits, k=count))


def _said(rng: Random, secret: str, *carriers: str) -> tuple[str, str]:
    return secret, rng.choice(
        carriers or ("{}", "use {} for this", "key={};", '{{"k": "{}"}}', "({})", "{}\n", "a: {}, b")
    ).format(secret)


# Keys and tokens


def _openai(rng: Random) -> tuple[str, str]:
    if rng.random() < 0.4:
        return _said(rng, f"sk-{chars(rng, ALNUM, 20)}T3BlbkFJ{chars(rng, ALNUM, 20)}")
    return _said(
        rng,
        f"sk-{rng.choice(['proj', 'svcacct', 'admin'])}-{chars(rng, URL_SAFE, 74)}T3BlbkFJ{chars(rng, URL_SAFE, 74)}",
    )


def _anthropic(rng: Random) -> tuple[str, str]:
    return _said(rng, f"sk-ant-{rng.choice(['api03', 'admin01', 'oat01'])}-{chars(rng, URL_SAFE, 93)}AA")


def _aws_access(rng: Random) -> tuple[str, str]:
    return _said(rng, rng.choice(["AKIA", "ASIA"]) + "".join(rng.choices(string.ascii_uppercase + "234567", k=16)))


def _aws_secret(rng: Random) -> tuple[str, str]:
    return _said(
        rng,
        chars(rng, BASE64, 40),
        "aws_secret_access_key = {}",
        '"SecretAccessKey": "{}"',
        "AWS_SECRET_ACCESS_KEY={}",
        '\\"secretAccessKey\\":\\"{}\\"',
        "secret_key: '{}'",
    )


def _gcp_key(rng: Random) -> tuple[str, str]:
    return _said(rng, "AIza" + chars(rng, URL_SAFE, 35))


def _gcp_token(rng: Random) -> tuple[str, str]:
    return _said(rng, rng.choice(["ya29." + chars(rng, URL_SAFE, 150), "GOCSPX-" + chars(rng, URL_SAFE, 28)]))


def _azure_storage(rng: Random) -> tuple[str, str]:
    key = base64.b64encode(rng.randbytes(64)).decode()
    return _said(
        rng,
        key,
        "DefaultEndpointsProtocol=https;AccountName=a1;AccountKey={};EndpointSuffix=core.windows.net",
        "Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=root;SharedAccessKey={}",
    )


def _azure_client(rng: Random) -> tuple[str, str]:
    return _said(rng, f"{chars(rng, ALNUM, 3)}8Q~{chars(rng, ALNUM + '_~.-', 33)}a", "secret {} .", "{}", 'x="{}"')


def _azure_ai(rng: Random) -> tuple[str, str]:
    return _said(rng, chars(rng, ALNUM, 52) + "JQQJ99" + chars(rng, ALNUM, 26))


def _azure_subscription(rng: Random) -> tuple[str, str]:
    return _said(
        rng,
        "".join(rng.choices(_HEX, k=32)),
        "api-key: {}",
        '"Ocp-Apim-Subscription-Key": "{}"',
        "AZURE_OPENAI_API_KEY={}",
    )


def _azure_sas(rng: Random) -> tuple[str, str]:
    signature = base64.b64encode(rng.randbytes(32)).decode().replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    return _said(rng, signature, "https://a.blob.core.windows.net/c/f?sv=2024-11-04&se=2026-01-01&sr=b&sp=r&sig={}")


def _github(rng: Random) -> tuple[str, str]:
    return _said(rng, f"gh{rng.choice('pousr')}_{chars(rng, ALNUM, 36)}")


def _github_fine(rng: Random) -> tuple[str, str]:
    return _said(rng, f"github_pat_{chars(rng, ALNUM, 22)}_{chars(rng, ALNUM, 59)}")


def _gitlab(rng: Random) -> tuple[str, str]:
    return _said(rng, f"gl{rng.choice(['pat', 'dt', 'rt', 'oas'])}-{chars(rng, URL_SAFE, rng.choice([20, 26]))}")


def _slack(rng: Random) -> tuple[str, str]:
    kind = rng.choice("bpa")
    return _said(rng, f"xox{kind}-{digits(rng, 12)}-{digits(rng, 13)}-{chars(rng, ALNUM, 24)}")


def _slack_webhook(rng: Random) -> tuple[str, str]:
    secret = f"T{chars(rng, string.ascii_uppercase + string.digits, 9)}/B{digits(rng, 9)}/{chars(rng, ALNUM, 24)}"
    return _said(rng, secret, "https://hooks.slack.com/services/{}", "https:\\/\\/hooks.slack.com\\/services\\/{}")


def _stripe(rng: Random) -> tuple[str, str]:
    return _said(
        rng, rng.choice(["sk_live_", "rk_live_", "sk_test_", "whsec_"]) + chars(rng, ALNUM, rng.choice([24, 32, 99]))
    )


def _spanledger(rng: Random) -> tuple[str, str]:
    return _said(rng, f"slk_{chars(rng, ALNUM, 8)}_{chars(rng, ALNUM, rng.choice([43, 64]))}")


def _url_safe(said: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")


def _jwt(rng: Random) -> tuple[str, str]:
    header = {"alg": rng.choice(["RS256", "HS256", "ES256"]), "typ": "JWT", "kid": chars(rng, _HEX, 16)}
    claims = {"sub": digits(rng, 10), "exp": 1790000000 + rng.randrange(10**6), "roles": ["x"] * rng.randrange(60)}
    return _said(rng, f"{_url_safe(header)}.{_url_safe(claims)}.{chars(rng, URL_SAFE, 86)}")


def _pem(rng: Random) -> tuple[str, str]:
    kind = rng.choice(["RSA ", "EC ", "", "OPENSSH ", "ENCRYPTED "])
    body = base64.b64encode(rng.randbytes(rng.choice([121, 634, 1190]))).decode()
    line_end = rng.choice(["\n", "\\n", "\r\n", "\\\\n"])
    head = (
        line_end + "Proc-Type: 4,ENCRYPTED" + line_end + "DEK-Info: AES-128-CBC,00FF" + line_end
        if rng.random() < 0.1
        else ""
    )
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    text = line_end.join([f"-----BEGIN {kind}PRIVATE KEY-----{head}", *lines, f"-----END {kind}PRIVATE KEY-----"])
    return lines[len(lines) // 2], rng.choice(
        ["{}", '{{"type": "service_account", "private_key": "{}"}}', "key:\n{}\nok"]
    ).format(text)


def _password(rng: Random) -> str:
    return chars(rng, ALNUM + "!#*-_.", rng.randrange(9, 24)).strip("-_.!#*") + "x7K"


def _url_password(rng: Random) -> tuple[str, str]:
    return _said(
        rng,
        _password(rng).replace("#", "%23"),
        "postgresql://app:{}@db.internal:5432/x",
        "amqps://u%40x:{}@mq/%2f",
        "redis://:{}@10.0.0.1:6379/0",
        "mongodb+srv://svc:{}@c0.ab1.mongodb.net",
        "https:\\/\\/user:{}@host\\/path",
    )


def _dsn(rng: Random) -> tuple[str, str]:
    return _said(
        rng,
        _password(rng),
        "host=db port=5432 user=app password={} dbname=x",
        "Server=tcp:db,1433;Database=x;User ID=a;Password={};",
        "Uid=a;Pwd={};Server=db;",
        "password={} host=db",
    )


def _authorization(rng: Random) -> tuple[str, str]:
    if rng.random() < 0.5:
        return _said(
            rng,
            chars(rng, URL_SAFE, rng.randrange(24, 80)),
            "Authorization: Bearer {}",
            '{{"authorization":"bearer {}"}}',
            "curl -H 'Authorization: token {}'",
        )
    pair = base64.b64encode(f"user{digits(rng, 2)}:{_password(rng)}".encode()).decode()
    return _said(rng, pair, "Authorization: Basic {}", '"Authorization": "Basic {}"')


def _secret_field(rng: Random) -> tuple[str, str]:
    if rng.random() < 0.3:  # With what JSON escapes, and with what ends a string elsewhere.
        secret = rng.choice(ALNUM) + chars(rng, ALNUM + "\"'\\ ,:{}[]", rng.randrange(9, 24)) + "x7K"
        return json.dumps(secret)[1:-1], rng.choice(
            [
                json.dumps({"user": "a", "password": secret}),
                json.dumps({"client_secret": secret, "user": "a"}),
                json.dumps([{"api_key": secret}, "b"], indent=2),
            ]
        )
    return _said(
        rng,
        _password(rng),
        '{{"user": "a", "password": "{}"}}',
        '{{\\"client_secret\\": \\"{}\\"}}',
        "{{'api_key': '{}'}}",
        '"db_password":"{}"',
    )


# Personal data


def _email(rng: Random) -> tuple[str, str]:
    secret = f"{rng.choice(_PEOPLE)}{rng.randrange(1000)}@{rng.choice(_DOMAINS)}"
    if rng.random() < 0.1:
        return _said(rng, secret.replace("@", "%40"), "https://x.example/u?mail={}&a=1")
    return _said(
        rng,
        secret,
        "{}",
        "mailto:{}",
        "<{}>",
        "Write to {}.",
        '{{"mail":"{}"}}',
        "line\\n{}\\nnext",
        "“{}”",
        "from {}, to x",
    )


def _phone(rng: Random) -> tuple[str, str]:
    forms: list[Callable[[], str]] = [
        lambda: f"+49 {rng.choice(['30', '89', '151', '176'])} {rng.randrange(10**6, 10**8)}",
        lambda: f"+1 ({rng.randrange(201, 990)}) {rng.randrange(200, 999)}-{rng.randrange(1000, 9999)}",
        lambda: f"+1{rng.randrange(2010000000, 9899999999)}",
        lambda: f"+44 20 {rng.randrange(1000, 9999)} {rng.randrange(1000, 9999)}",
        lambda: f"+33 {rng.randrange(1, 10)} " + " ".join(f"{rng.randrange(10, 99)}" for _ in range(4)),
        lambda: f"+34-{rng.randrange(600, 799)}-{rng.randrange(100, 999)}-{rng.randrange(100, 999)}",
        lambda: f"+39 0{rng.randrange(2, 9)} {rng.randrange(1000000, 9999999)}",
        lambda: f"+91 {rng.randrange(70000, 99999)} {rng.randrange(10000, 99999)}",
        lambda: f"+81-{rng.randrange(3, 9)}-{rng.randrange(1000, 9999)}-{rng.randrange(1000, 9999)}",
        lambda: f"+55 11 9{rng.randrange(1000, 9999)}-{rng.randrange(1000, 9999)}",
        lambda: f"+420{rng.randrange(600000000, 799999999)}",
    ]
    return _said(rng, rng.choice(forms)(), "{}", "call {}", "tel:{}", '{{"phone": "{}"}}', "Tel. {}, Fax", "({})")


def luhn_digit(number: str) -> str:
    total = 0
    for place, digit in enumerate(reversed(number)):
        doubled = int(digit) * (1 if place % 2 else 2)
        total += doubled - 9 if doubled > 9 else doubled
    return str(-total % 10)


def _card(rng: Random) -> tuple[str, str]:
    prefix, length = rng.choice(
        [
            ("4", 16),
            ("5" + rng.choice("12345"), 16),
            ("2221", 16),
            ("34", 15),
            ("37", 15),
            ("6011", 16),
            ("3530", 16),
            ("62", 16),
            ("36", 14),
        ]
    )
    number = prefix + digits(rng, length - len(prefix) - 1)
    number += luhn_digit(number)
    separator = rng.choice(["", "", " ", "-"])
    if separator and length == 16:
        number = separator.join(number[at : at + 4] for at in range(0, 16, 4))
    elif separator and length == 15:
        number = separator.join((number[:4], number[4:10], number[10:]))
    return _said(rng, number, "{}", "card {}", "paid with {}.", '{{"card":"{}"}}', "PAN={};", "{} 12/29 123")


def _iban(rng: Random) -> tuple[str, str]:
    code, bank = rng.choice(
        [
            ("DE", "d18"),
            ("GB", "a4d14"),
            ("FR", "d10x11d2"),
            ("NL", "a4d10"),
            ("ES", "d20"),
            ("IT", "a1d10x12"),
            ("PL", "d24"),
            ("CH", "d5x12"),
            ("AT", "d16"),
            ("NO", "d11"),
        ]
    )
    text, at = "", 0
    while at < len(bank):
        end = at + 1
        while end < len(bank) and bank[end].isdigit():
            end += 1
        alphabet = {"d": string.digits, "a": string.ascii_uppercase, "x": string.ascii_uppercase + string.digits}[
            bank[at]
        ]
        text += "".join(rng.choices(alphabet, k=int(bank[at + 1 : end])))
        at = end
    check = 98 - int("".join(str(int(one, 36)) for one in text + code + "00")) % 97
    number = f"{code}{check:02d}{text}"
    if rng.random() < 0.5:
        number = " ".join(number[at : at + 4] for at in range(0, len(number), 4))
    return _said(rng, number, "{}", "IBAN: {}", "to {}, thanks", '{{"iban": "{}"}}', "IBAN {}\nBIC X")


def _ssn(rng: Random) -> tuple[str, str]:
    area = rng.choice([one for one in range(1, 900) if one != 666])
    return _said(
        rng, f"{area:03d}-{rng.randrange(1, 99):02d}-{rng.randrange(1, 9999):04d}", "{}", "SSN {}", '"ssn":"{}"', "({})"
    )


def _nino(rng: Random) -> tuple[str, str]:
    while True:
        prefix = rng.choice("ABCEGHJKLMNOPRSTWXYZ") + rng.choice("ABCEGHJKLMNPRSTWXYZ")
        if prefix not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ"):
            break
    number, suffix = digits(rng, 6), rng.choice("ABCD")
    if rng.random() < 0.5:
        return _said(rng, f"{prefix} {number[:2]} {number[2:4]} {number[4:]} {suffix}", "{}", "NINO {}", "his {} is")
    return _said(rng, f"{prefix}{number}{suffix}", "NI number: {}", "National Insurance no. {}", '"nino": "{}"')


def _steuer_id(rng: Random) -> tuple[str, str]:
    repeated, *others = rng.sample(string.digits, 9)
    ten = [repeated, repeated, *others]
    while True:
        rng.shuffle(ten)
        if ten[0] != "0":
            break
    product = 10
    for digit in ten:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    number = "".join(ten) + str((11 - product) % 10)
    if rng.random() < 0.5:
        return _said(rng, f"{number[:2]} {number[2:5]} {number[5:8]} {number[8:]}", "{}", "ID {}", "Nr. {}, bitte")
    return _said(rng, number, "Steuer-ID: {}", "Steueridentifikationsnummer {}", "IdNr. {}", '"tax_id": "{}"')


def _nir(rng: Random) -> tuple[str, str]:
    department = rng.choice([f"{rng.randrange(1, 96):02d}", "2A", "2B"])
    number = f"{rng.choice('12')}{digits(rng, 2)}{rng.randrange(1, 13):02d}{department}{digits(rng, 6)}"
    key = 97 - int(number.replace("2A", "19").replace("2B", "18")) % 97
    if rng.random() < 0.5:
        spaced = f"{number[0]} {number[1:3]} {number[3:5]} {number[5:7]} {number[7:10]} {number[10:]} {key:02d}"
        return _said(rng, spaced, "{}", "NIR {}", "n° {} .")
    return _said(rng, f"{number}{key:02d}", "{}", "NIR {}", '"nir":"{}"')


def _dni(rng: Random) -> tuple[str, str]:
    letters = "TRWAGMYFPDXBNJZSQVHLCKE"
    if rng.random() < 0.5:
        number = rng.randrange(10**7, 10**8)
        return _said(rng, f"{number}{letters[number % 23]}", "DNI {}", "dni: {}", "NIF={}", '"dni": "{}"', "DNI nº {}")
    first, rest = rng.choice("XYZ"), digits(rng, 7)
    letter = letters[int(str("XYZ".index(first)) + rest) % 23]
    return _said(rng, f"{first}{rest}{letter}", "NIE {}", "nie: {}", '"nie":"{}"')


def _codice_fiscale(rng: Random) -> tuple[str, str]:
    odd = dict(
        zip(
            string.digits + string.ascii_uppercase,
            [
                1,
                0,
                5,
                7,
                9,
                13,
                15,
                17,
                19,
                21,
                1,
                0,
                5,
                7,
                9,
                13,
                15,
                17,
                19,
                21,
                2,
                4,
                18,
                20,
                11,
                3,
                6,
                8,
                12,
                14,
                16,
                10,
                22,
                25,
                24,
                23,
            ],
            strict=True,
        )
    )
    code = (
        "".join(rng.choices("BCDFGLMNPRST", k=6))
        + digits(rng, 2)
        + rng.choice("ABCDEHLMPRST")
        + f"{rng.randrange(1, 32):02d}"
    )
    code += rng.choice("ABCDEFGHIL") + digits(rng, 3)
    total = sum(
        odd[one] if place % 2 == 0 else int(one, 36) - (10 if one.isalpha() else 0) for place, one in enumerate(code)
    )
    return _said(rng, code + string.ascii_uppercase[total % 26], "{}", "CF {}", "codice fiscale: {}", '"cf":"{}"')


def _bsn(rng: Random) -> tuple[str, str]:
    while True:
        eight = digits(rng, 8)
        rest = sum(weight * int(digit) for weight, digit in zip(range(9, 1, -1), eight, strict=True)) % 11
        if rest < 10 and int(eight):
            return _said(rng, f"{eight}{rest}", "BSN {}", "bsn: {}", "burgerservicenummer {}", '"bsn": "{}"')


MAKERS: Final[dict[str, Callable[[Random], tuple[str, str]]]] = {
    "openai_key": _openai,
    "anthropic_key": _anthropic,
    "aws_access_key": _aws_access,
    "aws_secret_key": _aws_secret,
    "gcp_api_key": _gcp_key,
    "gcp_token": _gcp_token,
    "azure_storage_key": _azure_storage,
    "azure_client_secret": _azure_client,
    "azure_ai_key": _azure_ai,
    "azure_subscription_key": _azure_subscription,
    "azure_sas": _azure_sas,
    "github_token": _github,
    "github_fine_grained": _github_fine,
    "gitlab_token": _gitlab,
    "slack_token": _slack,
    "slack_webhook": _slack_webhook,
    "stripe_key": _stripe,
    "spanledger_key": _spanledger,
    "jwt": _jwt,
    "pem_private_key": _pem,
    "url_password": _url_password,
    "dsn_password": _dsn,
    "authorization": _authorization,
    "secret_field": _secret_field,
    "email": _email,
    "phone": _phone,
    "card": _card,
    "iban": _iban,
    "us_ssn": _ssn,
    "uk_nino": _nino,
    "de_steuer_id": _steuer_id,
    "fr_nir": _nir,
    "es_dni": _dni,
    "it_codice_fiscale": _codice_fiscale,
    "nl_bsn": _bsn,
}


def planted(rng: Random, rule: str) -> Planted:
    """A value of a rule."""
    return Planted(rule, *MAKERS[rule](rng))


# What only looks like it

LOOK_ALIKES: Final[dict[str, Callable[[Random], str]]] = {
    "uuid": lambda rng: str(UUID(bytes=rng.randbytes(16))),
    "trace id": lambda rng: rng.randbytes(16).hex(),
    "span id": lambda rng: rng.randbytes(8).hex(),
    "order number": lambda rng: rng.choice(
        [
            f"ORD-{rng.randrange(10**5, 10**9)}",
            f"{rng.randrange(2020, 2027)}-{digits(rng, 8)}",
            digits(rng, rng.randrange(6, 13)),
            f"INV{digits(rng, 10)}",
            f"{digits(rng, 3)}-{digits(rng, 7)}-{digits(rng, 7)}",
            f"PO {digits(rng, 4)} {digits(rng, 4)}",
        ]
    ),
    "hash": lambda rng: rng.choice([rng.randbytes(20), rng.randbytes(32), rng.randbytes(16)]).hex(),
    "base64": lambda rng: base64.b64encode(rng.randbytes(rng.randrange(12, 60))).decode(),
    "version": lambda rng: rng.choice(
        [
            ".".join(str(rng.randrange(40)) for _ in range(rng.randrange(2, 5))),
            f"v{rng.randrange(9)}.{rng.randrange(90)}.{rng.randrange(90)}-rc.{rng.randrange(9)}+{rng.randbytes(4).hex()}",
            f"lodash@4.{rng.randrange(20)}.{rng.randrange(30)}",
        ]
    ),
    "timestamp": lambda rng: rng.choice(
        [
            str(rng.randrange(17 * 10**17, 18 * 10**17)),
            str(rng.randrange(17 * 10**11, 18 * 10**11)),
            str(rng.randrange(17 * 10**14, 18 * 10**14)),
            f"2026-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}T{rng.randrange(10, 24)}:{rng.randrange(10, 60)}:"
            f"{rng.randrange(10, 60)}.{digits(rng, 6)}+0{rng.randrange(3)}:00",
            f"2026{rng.randrange(1, 13):02d}{rng.randrange(1, 29):02d}T{digits(rng, 6)}Z",
        ]
    ),
    "number": lambda rng: rng.choice(
        [
            repr(rng.random()),
            repr(rng.uniform(-1e9, 1e9)),
            f"{rng.randrange(10**9):,}",
            f"+{rng.randrange(10**4, 10**7)}",
            f"{rng.randrange(10**18):e}",
            f"-{digits(rng, 18)}",
        ]
    ),
    "file": lambda rng: rng.choice(
        [
            f"icon@{rng.randrange(1, 4)}x.png",
            f"/srv/app/{rng.randbytes(3).hex()}/main.py:{rng.randrange(900)}",
            f"chunk-{rng.randbytes(4).hex()}@2.js",
            f"s3://bucket/{rng.randrange(2020, 2027)}/{rng.randbytes(6).hex()}.parquet",
        ]
    ),
    "code": lambda rng: rng.choice(
        [
            "@property\ndef password(self): return self._password",
            "password = get_password()",
            "connect(host=h, user=u, password=p)",
            'token = os.environ["TOKEN"]',
            "if pwd == None: raise ValueError",
            "Bearer authentication is used here",
            "uses basic authentication-scheme tokens",
            f"x = [{rng.randrange(9999)}, {rng.randrange(9999)}, {rng.randrange(9999)}, {rng.randrange(9999)}]",
            f"MAX = 0x{rng.randbytes(8).hex().upper()}",
            f"sk-{rng.choice(['learn', 'image'])}-contrib-classifier-module",
            '{"type": "object", "properties": {"password": {"type": "string"}}}',
            "@app.route('/users/<id>')",
            "self.assertEqual(a@b, c)",
            f"rgb({rng.randrange(255)}, {rng.randrange(255)}, {rng.randrange(255)})",
            "https://example.com:8080/path?x=1@2",
            "git@github.com:org/repo.git",
            "password: {{ secrets.DB_PASSWORD }}",
            "postgres://user:${DB_PASSWORD}@db/x",
        ]
    ),
    "coordinates": lambda rng: f"{rng.uniform(-90, 90):.6f}, {rng.uniform(-180, 180):.6f}",
    "words": lambda rng: rng.choice(
        [
            "the basic functionality of tokens",
            "task-runner-with-a-long-hyphenated-name-2",
            "AIzawa met ghost_writer at 10:30",
            "eyJust a name.like.this",
            "room +1 floor, 3-4 people, 12-31-1999",
            "ISO 8601-1:2019, EN 60601-1-2",
            "Chapter 12 345 678 of the book",
        ]
    ),
}


def look_alike(rng: Random, kind: str) -> LookAlike:
    """A text of a kind, as it stands in logs and messages."""
    carrier = rng.choice(["{}", "id={}", '{{"id": "{}"}}', "see {} for more", "{}\n", "[{}]", "x {}, y", "\\n{}\\n"])
    return LookAlike(kind, carrier.replace("{{", "{").replace("}}", "}").replace("{}", LOOK_ALIKES[kind](rng)))
