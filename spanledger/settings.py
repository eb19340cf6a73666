"""Every setting, declared once: the fields of `Settings`.

The environment variable, the option of `serve`, the key in the configuration file and the line in docs/settings.md are
all derived from that one table, so none can be forgotten. Precedence: option, environment, file, default. A value that
cannot be used is refused with its setting, where it came from and what is allowed; so is an unknown key in the file.
Unknown SPANLEDGER_ variables are left alone: orchestrators set some of their own for a service of that name.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from spanledger.errors import UsageError
from store.questions import SqlLimits

CONFIG_ENVIRONMENT: Final = "SPANLEDGER_CONFIG"
CONFIG_BYTES_MAX: Final = 1024 * 1024  # A configuration is a page of text; more is the wrong file.
MEMORY_MB_MIN: Final = 64  # Below this the view's engine fails on small batches already.
MEMORY_MB_MAX: Final = 1024 * 1024
LAG_SECONDS_MAX: Final = 3600  # Longer than anybody waits for what happened just now; 0 is how to say never.
DISK_MB_MAX: Final = 1024 * 1024  # More is a mistake in the unit.
REQUEST_MB_MAX: Final = 1024  # gRPC counts message lengths in 32 bits, and a request is held in memory whole.
# What SDKs let through unless told otherwise. Below it the mark of what was dropped would be larger than that.
COUNT_MIN: Final = 128
COUNT_MAX: Final = 1_000_000
RATE_MAX: Final = 1_000_000  # A second: far more than a server can take.

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Kind:
    """What values a setting takes: how to read one, and how to say what is allowed."""

    read: Callable[[str], Any]
    allowed: str
    metavar: str


def _integer(low: int, high: int, what: str, metavar: str) -> _Kind:
    def read(text: str) -> int:
        value = int(text) if text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20 else None
        if value is None or not low <= value <= high:
            raise ValueError
        return value

    return _Kind(read, f"{what} from {low} to {high}", metavar)


def _choice(*choices: str) -> _Kind:
    def read(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError
        return text.lower()

    return _Kind(read, "one of " + ", ".join(choices), "|".join(choices))


def _text(allowed: str, metavar: str) -> _Kind:
    def read(text: str) -> str:
        if not text or "\0" in text or text != text.strip():
            raise ValueError
        return text

    return _Kind(read, allowed, metavar)


_PORT: Final = _integer(0, 65535, "a port number", "PORT")
_HOST: Final = _text("a host name or address", "HOST")


def _folder(text: str) -> Path:
    return Path(_text("", "").read(text)).expanduser()


_FOLDER: Final = _Kind(_folder, "the path of a folder", "DIR")
_FILE: Final = _Kind(_folder, "the path of a file", "FILE")
_NO_FILE: Final[Path | None] = None
_NO_TEXT: Final[str | None] = None


def _pairs(text: str) -> str:
    """`a=b,c=d`, each side once."""
    names = [_pair(one)[0] for one in text.split(",")]
    if len(set(names)) != len(names):
        raise ValueError
    return text


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.rpartition("=")
    if not (name.strip() and value.strip()):
        raise ValueError
    return name.strip(), value.strip()


def pairs_of(text: str | None) -> dict[str, str]:
    """What a setting of the form `a=b,c=d` says, in its order."""
    return dict(_pair(one) for one in text.split(",")) if text else {}


def has_password(url: str) -> bool:
    """Whether a database URL has a password in it; where it cannot be read, it is taken to have one."""
    try:
        return urlsplit(url).password is not None or "password=" in url
    except ValueError:
        return True


def _url(text: str) -> str:
    if not text.startswith(("https://", "http://")) or any(one.isspace() for one in text):
        raise ValueError
    return text


_PAIRS: Final = _Kind(_pairs, "pairs: `a=b,c=d`", "PAIRS")
_URL: Final = _Kind(_url, "an https address", "URL")


def _setting(default: Value, kind: _Kind, description: str, unset: str = "none") -> Value:
    """`unset` is how a default of None is shown."""
    return field(default=default, metadata={"kind": kind, "help": description, "unset": unset})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a server runs. The fields are the table: name, default, kind, help."""

    data: Path = _setting(  # noqa: RUF009 (a field, not a value)
        Path("spanledger-data"),
        _FOLDER,
        "The data folder: the journal, its view and the lock. Made if it is not there.",
    )
    host: str = _setting("127.0.0.1", _HOST, "The address all ports listen on. Another than loopback needs a key.")
    otlp_grpc_port: int = _setting(4317, _PORT, "Port of the OTLP/gRPC receiver; 0 picks a free one.")
    otlp_http_port: int = _setting(4318, _PORT, "Port of the OTLP/HTTP receiver; 0 picks a free one.")
    api_port: int = _setting(8321, _PORT, "Port of the query API; 0 picks a free one.")
    request_max_mb: int = _setting(
        64,
        _integer(1, REQUEST_MB_MAX, "MiB", "MIB"),
        "The largest OTLP request taken, decompressed, over gRPC and HTTP.",
    )
    request_compressed_max_mb: int = _setting(
        16,
        _integer(1, REQUEST_MB_MAX, "MiB", "MIB"),
        "The largest compressed OTLP request taken, as it comes over the wire.",
    )
    attributes_max: int = _setting(
        16384,
        _integer(COUNT_MIN, COUNT_MAX, "attributes", "COUNT"),
        "Attributes of one span, log record, span event, link, resource, scope or data point. Those beyond are dropped, and "
        "the record says how many, their bytes and their SHA-256.",
    )
    attribute_max_kb: int = _setting(
        16384,
        _integer(1, REQUEST_MB_MAX * 1024, "KiB", "KIB"),
        "The largest attribute value or log body. One that is larger is cut, and the record says its length and SHA-256.",
    )
    span_events_max: int = _setting(
        16384, _integer(COUNT_MIN, COUNT_MAX, "events", "COUNT"), "Events of one span; as `attributes_max`."
    )
    span_links_max: int = _setting(
        16384, _integer(COUNT_MIN, COUNT_MAX, "links", "COUNT"), "Links of one span; as `attributes_max`."
    )
    requests_in_flight_max_mb: int = _setting(
        128,
        _integer(1, MEMORY_MB_MAX, "MiB", "MIB"),
        "OTLP requests held at once, all together; senders of more are asked to come again (429, RESOURCE_EXHAUSTED).",
    )
    view_lag_max_mb: int = _setting(
        1024,
        _integer(0, DISK_MB_MAX, "MiB", "MIB"),
        "OTLP requests recorded and not in the view yet; senders of more are asked to come again (429, "
        "RESOURCE_EXHAUSTED) until the view has caught up. It bounds how long the view may fail before a request does. "
        "0 is no bound.",
    )
    view_lag_max_seconds: int = _setting(
        5,
        _integer(0, LAG_SECONDS_MAX, "seconds", "SECONDS"),
        "How long the view may need, at its pace, for what is recorded and not in it; senders of more are asked to come "
        "again (429, RESOURCE_EXHAUSTED). It bounds how old an answer may be when agents send more than can be projected. "
        "It does not hold while the view stands still. 0 is no bound.",
    )
    disk_reserve_mb: int = _setting(
        512,
        _integer(0, DISK_MB_MAX, "MiB", "MIB"),
        "Disk space kept free for the view: with less, senders are asked to come again (503, UNAVAILABLE). At most an "
        "eighth of the disk is. 0 fills it.",
    )
    view_memory_mb: int = _setting(
        512, _integer(MEMORY_MB_MIN, MEMORY_MB_MAX, "MiB", "MIB"), "Memory that the view's engine may use."
    )
    sql_seconds_max: int = _setting(
        10, _integer(1, 600, "seconds", "SECONDS"), "How long a statement of `/v1/sql` may take; then it is ended."
    )
    sql_rows_max: int = _setting(
        100_000,
        _integer(1, COUNT_MAX, "rows", "COUNT"),
        "Rows that the answer to a statement of `/v1/sql` may have; 10000 unless its `limit` asks for more or fewer.",
    )
    sql_memory_mb: int = _setting(
        512,
        _integer(MEMORY_MB_MIN, MEMORY_MB_MAX, "MiB", "MIB"),
        "Memory that a statement of `/v1/sql` may use, in a process of its own. Two run at once.",
    )
    control_url: str | None = _setting(
        _NO_TEXT,
        _text("a database URL", "URL"),
        "The control store, which holds the keys: a SQLite or PostgreSQL URL (`postgresql+psycopg://user@host/name`). "
        "Without it `control.sqlite3` in the data folder. A URL with a password is taken from the environment or the file "
        "only: options are shown to everybody in the list of processes.",
    )
    first_key_file: Path | None = _setting(  # noqa: RUF009 (a field, not a value)
        _NO_FILE,
        _FILE,
        "A file with one key (`slk_` and 8 letters or digits, `_`, 43 to 64 more), which is made an admin's at the start "
        "unless it is known. How a first key gets in where no command can be run before the start.",
    )
    first_ingest_key_file: Path | None = _setting(  # noqa: RUF009 (a field, not a value)
        _NO_FILE, _FILE, "As `first_key_file`, for a key of role ingest."
    )
    metrics_key_file: Path | None = _setting(  # noqa: RUF009 (a field, not a value)
        _NO_FILE, _FILE, "As `first_key_file`, for a key that may read `/metrics` and nothing else."
    )
    metrics_access: str = _setting(
        "loopback",
        _choice("loopback", "key", "open"),
        "Who may read `/metrics`: everybody where `host` is a loopback address and nobody without a key elsewhere, nobody "
        "without a key, or everybody. It shows names of tenants, tools and models.",
    )
    allowed_hosts: str | None = _setting(
        _NO_TEXT,
        _text("names, with commas between", "NAMES"),
        "Names that the Host header of a request may have beside those of loopback. Without it, every name on an address "
        "that is not loopback; on loopback none, so that no web page can have a browser ask us.",
    )
    key_requests_per_second: int = _setting(
        2000,
        _integer(0, RATE_MAX, "requests", "COUNT"),
        "Requests that one key may make a second, of the receivers and of the API each; more are asked to come again (429, "
        "RESOURCE_EXHAUSTED). A key can have a bound of its own. 0 is no bound.",
    )
    key_mb_per_second: int = _setting(
        256,
        _integer(0, MEMORY_MB_MAX, "MiB", "MIB"),
        "OTLP, decompressed, that one key may send a second; as `key_requests_per_second`.",
    )
    oidc_issuer: str | None = _setting(
        _NO_TEXT,
        _URL,
        "Take bearer tokens of this OpenID Connect issuer beside keys. Needs `oidc_audience` and `oidc_roles`.",
    )
    oidc_audience: str | None = _setting(_NO_TEXT, _text("a text", "TEXT"), "The audience that a token must be for.")
    oidc_jwks_url: str | None = _setting(
        _NO_TEXT, _URL, "Where the issuer's keys are; without it the issuer's discovery document says."
    )
    oidc_skew_seconds: int = _setting(
        60, _integer(0, 600, "seconds", "SECONDS"), "How far the issuer's clock may be from ours."
    )
    oidc_role_claim: str = _setting(
        "roles", _text("the name of a claim", "CLAIM"), "The claim that says the role; `a.b` is b within a."
    )
    oidc_roles: str | None = _setting(
        _NO_TEXT,
        _PAIRS,
        "What values of that claim mean: `sre=operator,audit=auditor`. Of several the first of this list counts; a token "
        "with none of them is refused.",
    )
    oidc_tenant_claim: str = _setting(
        "tenant", _text("the name of a claim", "CLAIM"), "The claim that says the tenant."
    )
    oidc_tenants: str | None = _setting(
        _NO_TEXT,
        _PAIRS,
        "What values of that claim mean: `Acme Inc=acme`. Without it the value is the tenant's name itself.",
    )
    tls_cert: Path | None = _setting(  # noqa: RUF009 (a field, not a value)
        _NO_FILE, _FILE, "A certificate with its chain, in PEM: all three ports speak TLS then. Needs `tls_key`."
    )
    tls_key: Path | None = _setting(  # noqa: RUF009 (a field, not a value)
        _NO_FILE, _FILE, "The private key of `tls_cert`, in PEM, without a password."
    )
    tls_client_ca: Path | None = _setting(  # noqa: RUF009 (a field, not a value)
        _NO_FILE,
        _FILE,
        "Certificates, in PEM: who connects must have a certificate by one of them (mutual TLS). A key is needed, too.",
    )
    redaction: str = _setting(
        "on",
        _choice("on", "off"),
        "Whether secrets and personal data are taken out of what agents send before it is stored (docs/redaction.md).",
    )
    redaction_policy: Path | None = _setting(  # noqa: RUF009 (a field, not a value)
        _NO_FILE,
        _FILE,
        "A policy of redaction in YAML to use instead of the built-in one; it is read again when it changes.",
        "built-in",
    )
    pseudonym_key_file: Path | None = _setting(  # noqa: RUF009 (a field, not a value)
        _NO_FILE,
        _FILE,
        "A file with at least 32 random bytes, outside the data folder: the key of the pseudonyms that a policy may ask for.",
    )
    prices: Path | None = _setting(  # noqa: RUF009 (a field, not a value)
        _NO_FILE,
        _FILE,
        "A table of prices to use instead of the built-in one, for model calls whose telemetry has no cost: `[[price]]` "
        "entries as in store/model/prices.toml. They hold for what comes in; `spanledger rebuild` prices what is recorded.",
        "built-in",
    )
    log_level: str = _setting("info", _choice("debug", "info", "warning", "error"), "The least severe log line shown.")
    log_format: str = _setting(
        "auto",
        _choice("auto", "console", "json"),
        "How log lines are written to stderr; auto is console in a terminal and json elsewhere.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the table."""

    name: str
    default: Any
    help: str
    allowed: str
    metavar: str
    read: Callable[[str], Any]
    unset: str

    @property
    def shown_default(self) -> str:
        return self.unset if self.default is None else str(self.default)

    @property
    def option(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def environment(self) -> str:
        return "SPANLEDGER_" + self.name.upper()


SETTINGS: Final = tuple(
    Setting(
        name=member.name,
        default=member.default,
        help=member.metadata["help"],
        allowed=member.metadata["kind"].allowed,
        metavar=member.metadata["kind"].metavar,
        read=member.metadata["kind"].read,
        unset=member.metadata["unset"],
    )
    for member in fields(Settings)
)


def sql_limits_of(settings: Settings) -> SqlLimits:
    """What a statement may take."""
    return SqlLimits(
        seconds=float(settings.sql_seconds_max), rows=settings.sql_rows_max, memory_mb=settings.sql_memory_mb
    )


def resolve(options: Mapping[str, str | None], environment: Mapping[str, str]) -> Settings:
    """The settings that hold. `options` are by setting name, and `config` names the file; None is not given.

    Raises UsageError for a value that is not allowed and for a file that cannot be read.
    """
    file = _read_file(options.get("config"), environment)
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        given: str | None = options.get(setting.name)
        source = setting.option
        if given is None and environment.get(setting.environment):  # Empty is unset, as compose files write it.
            given, source = environment[setting.environment], setting.environment
        if given is None and setting.name in file:
            given, source = file[setting.name]
        if given is not None:
            if setting.name == "control_url" and has_password(given) and source == setting.option:
                raise UsageError(
                    "setting control_url: a password is not taken from an option, which the list of processes shows",
                    f"give it as {setting.environment} or in the configuration file",
                )
            values[setting.name] = _read(setting, given, source)
    return Settings(**values)


def _read(setting: Setting, given: str, source: str) -> Any:
    try:
        return setting.read(given)
    except ValueError as error:
        shown = "a value" if setting.name == "control_url" else repr(given)
        raise UsageError(
            f"setting {setting.name}: {shown} (from {source}) cannot be used", f"allowed is {setting.allowed}"
        ) from error


def _read_file(option: str | None, environment: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The configuration file's values by setting name, each with where it came from; {} when there is no file."""
    name = option or environment.get(CONFIG_ENVIRONMENT)
    if not name:
        return {}
    path = Path(name).expanduser()
    try:
        with path.open("rb") as file:
            content = file.read(CONFIG_BYTES_MAX + 1)
        if len(content) > CONFIG_BYTES_MAX:
            raise UsageError(f"configuration file {path}: larger than 1 MiB", "is this the right file?")
        table = tomllib.loads(content.decode())
    except OSError as error:
        raise UsageError(f"configuration file {path}: {error.strerror}", "name a TOML file that can be read") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"configuration file {path}: {error}", "it must be TOML: name = value, one a line") from error
    known = {setting.name: setting for setting in SETTINGS}
    values: dict[str, tuple[str, str]] = {}
    for key, value in table.items():
        if key not in known:
            raise UsageError(f"configuration file {path}: {key!r} is not a setting", "settings are " + ", ".join(known))
        if isinstance(value, bool) or not isinstance(value, int | str):
            kind = type(value).__name__
            message = f"setting {key}: a {kind} (from {path}) cannot be used"
            raise UsageError(message, f"allowed is {known[key].allowed}")
        values[key] = (str(value), str(path))
    return values


def reference() -> str:
    """docs/settings.md, whole."""
    lines = [
        "# Settings",
        "",
        "Made from the table in `spanledger/settings.py`; a test compares the two.",
        "",
        "An option of `spanledger serve` wins over the environment, the environment over the configuration file, and",
        "the file over the default. The file is TOML, `name = value` one a line; `--config FILE` or `SPANLEDGER_CONFIG`",
        "names it. An empty environment variable counts as not set. A value that is not allowed stops the command with",
        "exit status 2.",
        "",
        "| name | option | environment | default | allowed | what it does |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{row.name}` | `{row.option}` | `{row.environment}` | `{row.shown_default}` | {row.allowed} | {row.help} |"
        for row in SETTINGS
    ]
    return "\n".join(lines) + "\n"
