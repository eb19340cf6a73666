"""The command line: what each command takes, and how it fails.

Strategy: a command reads its options, opens what it needs and calls one function of another module. An expected failure
is two lines on stderr, what failed and what to do, with exit status 1, or 2 where the command was not understood. Only a
bug shows a traceback.
"""

import inspect
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from prometheus_client import CollectorRegistry
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress
from typer.exceptions import TyperException

from collector.errors import CollectorError
from collector.headroom import Headroom
from collector.intake import Intake
from collector.limits import MIB
from collector.metrics import IngestMetrics
from query.live import START
from query.parameters import (
    SPEED_MAX,
    SPEED_MIN,
    AccessParameters,
    LiveParameters,
    ReadParameters,
    RunsParameters,
)
from spanledger import demonstration, key_commands, logs, server
from spanledger.errors import FrontDoorError, UsageError
from spanledger.importing import Destination, FileReport, LocalIntake, OtlpHttp, import_files
from spanledger.local_record import LocalRecord, open_ledger
from spanledger.reading import (
    KEY_ENVIRONMENT,
    NotPermitted,
    ServedRecord,
    client_access,
    open_record,
)
from spanledger.receiver.limits import limits_of
from spanledger.redaction import boundary_of
from spanledger.rendering.imports import report_lines, total_line
from spanledger.settings import CONFIG_ENVIRONMENT, SETTINGS, Settings, resolve
from spanledger.showing import Form, pipe, show_accesses, show_diff, show_replay, show_runs, show_steps
from spanledger.sql_showing import SqlForm, show_sql
from spanledger.windows import Window
from store.backup import back_up
from store.errors import (
    BackupFailed,
    BadQuery,
    DataFolderLocked,
    DataFolderUnusable,
    JournalVersionUnknown,
    NotFound,
    PastBusy,
    PastNotReached,
    PricesUnusable,
    StoreError,
)
from store.ledger import rebuild as rebuild_view
from store.ledger import running_server
from store.model.prices import read_prices
from store.record import Position, Signal

_HINTS: Final[dict[type[StoreError], str]] = {
    BackupFailed: "name a folder that does not exist, on a disk with room for the journal",
    DataFolderLocked: "stop the process that holds it, or name another folder with --data",
    DataFolderUnusable: "name a folder that this user can write with --data, or change its owner or permissions",
    JournalVersionUnknown: "start the version that wrote it, or a newer one",
    PricesUnusable: "correct the file, or leave `prices` (--prices, SPANLEDGER_PRICES) away for the built-in table",
    PastBusy: "ask again in a few seconds",
    PastNotReached: "ask again in a moment",
    NotFound: "`spanledger runs` lists the runs there are",
    BadQuery: "correct the option",
    StoreError: "the record is kept; see the message above for the cause",
}
_Parameters = TypeVar("_Parameters", bound=ReadParameters)
_INTERRUPTED: Final = 130  # 128 and the number of SIGINT, as shells have it.

app = typer.Typer(
    name="spanledger",
    help="The flight recorder for AI agents.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_Data = Annotated[
    str | None, typer.Option("--data", metavar="DIR", help="The data folder [default: ./spanledger-data].")
]
_Config = Annotated[str | None, typer.Option("--config", metavar="FILE", help="A TOML file with settings.")]
_Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="The address of a server's API, as http://127.0.0.1:8321.")
]
_KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", metavar="FILE", help=f"A file with the key to present. [env: {KEY_ENVIRONMENT}]"),
]
_Form = Annotated[
    Form, typer.Option("--format", help="text for people, ndjson for programs; auto is text in a terminal.")
]


def main() -> int:
    """Run the command line. Returns the exit status."""
    logs.configure("warning", "auto")
    try:
        status: Any = app(standalone_mode=False, prog_name="spanledger")
    except FrontDoorError as error:
        return _fail(str(error), error.hint, error.exit_status)
    except TyperException as error:
        return _fail(error.format_message(), "`spanledger --help` and `spanledger COMMAND --help` say what there is", 2)
    except StoreError as error:
        hint = next(_HINTS[kind] for kind in type(error).__mro__ if kind in _HINTS)
        return _fail(str(error), hint, 1)
    except CollectorError as error:
        return _fail(str(error), "see `spanledger serve --help`", 1)
    except KeyboardInterrupt:
        return _INTERRUPTED
    return status if isinstance(status, int) else 0


def _fail(message: str, hint: str, status: int) -> int:
    print(f"error: {' '.join(message.split())}\nhint: {' '.join(hint.split())}", file=sys.stderr)
    return status


def _settings(data: str | None, config: str | None) -> Settings:
    return resolve({"data": data, "config": config}, os.environ)


@app.callback(invoke_without_command=True)
def _front(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


def _serve(**given: str | None) -> None:
    """Record what agents send, and answer what is asked about it.

    Prints one line of JSON with the addresses when it is ready; logs go to stderr.
    """
    settings = resolve(given, os.environ)
    logs.configure(settings.log_level, settings.log_format)
    server.serve(settings)


def _with_setting_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for every row of the settings' table."""
    rows = [
        (row.name, row.option, row.metavar, f"{row.help} [default: {row.shown_default}] [env: {row.environment}]")
        for row in SETTINGS
    ]
    rows.append(("config", "--config", "FILE", f"A TOML file with settings. [env: {CONFIG_ENVIRONMENT}]"))
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            # The environment is read by `resolve`, which can say where a wrong value came from.
            annotation=Annotated[str | None, typer.Option(option, metavar=metavar, help=text)],
        )
        for name, option, metavar, text in rows
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


app.command("serve")(_with_setting_options(_serve))


@app.command("demo")
def _demo(
    once: Annotated[bool, typer.Option("--once", help="End after the replay instead of serving on.")] = False,
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="The demo's data folder.")] = (
        demonstration.DEMO_DATA
    ),
) -> None:
    """Record a real agent's run on a server of its own, and replay it."""
    demonstration.demo(data, once=once)


@app.command("import")
def _import(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="OTLP protobuf, JSON or JSON-lines files.")],
    *,
    signal: Annotated[str | None, typer.Option(help="traces, logs or metrics, where the content does not say.")] = None,
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="A server's OTLP/HTTP address.")] = None,
    data: _Data = None,
    config: _Config = None,
    key_file: _KeyFile = None,
) -> None:
    """Take in OTLP files: through a running server, or into the data folder when no server holds it."""
    signals = {member.label: member for member in Signal}
    if signal is not None and signal not in signals:
        raise UsageError(f"--signal {signal!r} is not a signal", "give traces, logs or metrics")
    settings = _settings(data, config)
    access = client_access(key_file, os.environ)
    served = running_server(settings.data) or {}
    otlp_http = url or served.get("otlp_http")
    with ExitStack() as opened:
        destination: Destination
        record: ServedRecord | LocalRecord | None = None
        if otlp_http is not None:
            sender = OtlpHttp(otlp_http, access)
            opened.callback(sender.close)
            destination = sender
            if otlp_http.rstrip("/") == served.get("otlp_http"):
                record = ServedRecord(served["api"], access)
                opened.callback(record.close)
        else:
            boundary = boundary_of(settings)
            ledger = opened.enter_context(open_ledger(settings))
            limits = limits_of(settings)
            intake = Intake(ledger, metrics=IngestMetrics(CollectorRegistry()), limits=limits, boundary=boundary)
            destination, record = LocalIntake(intake, Headroom(limits, ledger)), LocalRecord(ledger)
        reports = _import_with_progress(files, destination, signals.get(signal or ""), settings.request_max_mb * MIB)
        positions = [report.position for report in reports if report.position is not None]
        if positions and not _waited_for(record, positions[-1]):
            print(f"Stored up to position {positions[-1]}; the API may show it a moment later.", file=sys.stderr)
    raise typer.Exit(0 if all(report.clean for report in reports) else 1)


def _waited_for(record: ServedRecord | LocalRecord | None, position: Position) -> bool:
    """Wait until the view holds a position; False where that cannot be seen: elsewhere, or with a key that only writes."""
    try:
        if record is not None:
            record.wait_for(position)
    except NotPermitted:
        return False
    return record is not None


def _import_with_progress(
    files: list[Path], destination: Destination, signal: Signal | None, bytes_max: int
) -> list[FileReport]:
    reports: list[FileReport] = []
    with pipe(), Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("importing", total=len(files))
        for report in import_files(files, destination, signal=signal, bytes_max=bytes_max):
            reports.append(report)
            progress.advance(task)
            for line in report_lines(report):
                print(line)
        print(total_line(reports))
    return reports


@app.command("runs")
def _runs(
    *,
    agent: Annotated[str | None, typer.Option(help="Agent name.")] = None,
    status: Annotated[str | None, typer.Option(help="As ok, error, interrupted, running.")] = None,
    conversation: Annotated[str | None, typer.Option(help="Conversation id.")] = None,
    trace_id: Annotated[str | None, typer.Option(help="Trace id: 32 hexadecimal digits.")] = None,
    service: Annotated[str | None, typer.Option(help="Service name.")] = None,
    tool: Annotated[str | None, typer.Option(help="Name of a tool that was called.")] = None,
    model: Annotated[str | None, typer.Option(help="Name of a model that was called.")] = None,
    since: Annotated[str | None, typer.Option(help="Began at this time or later: 2026-07-01T12:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option(help="Began before this time.")] = None,
    q: Annotated[str | None, typer.Option("-q", help="Words to find.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 50,
    form: _Form = Form.AUTO,
    url: _Url = None,
    data: _Data = None,
    config: _Config = None,
    key_file: _KeyFile = None,
) -> None:
    """List runs, newest first: a table in a terminal, NDJSON when piped."""
    given = {
        "agent": agent, "status": status, "conversation": conversation, "trace_id": trace_id, "service": service,
        "tool": tool, "model": model, "since": since, "until": until, "q": q,
    }  # fmt: skip
    where = _conditions(RunsParameters, given, "runs")
    settings = _settings(data, config)
    with open_record(url, settings, client_access(key_file, os.environ)) as record:
        show_runs(record, where.filter(), limit=limit, form=form)


def _conditions(kind: type[_Parameters], given: dict[str, str | None], command: str) -> _Parameters:
    """The options of a command as the API's parameters. Raises UsageError that names the option."""
    try:
        return kind.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        wrong = error.errors()[0]
        name = str(wrong["loc"][0])
        option = f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"
        reason = str(wrong["msg"]).removeprefix("Value error, ")
        raise UsageError(f"{option}: {reason}", f"see `spanledger {command} --help`") from error


@app.command("access")
def _access(
    *,
    who: Annotated[str | None, typer.Option(help="As key:ab12cd34, token:somebody, local:somebody, unknown.")] = None,
    action: Annotated[str | None, typer.Option(help="As read, replay, access, enter, key_revoke, policy.")] = None,
    run: Annotated[str | None, typer.Option(help="Any id of a run.")] = None,
    outcome: Annotated[str | None, typer.Option(help="allowed, refused or failed.")] = None,
    since: Annotated[str | None, typer.Option(help="At this time or later: 2026-07-01T12:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the latest first.")] = 50,
    form: _Form = Form.AUTO,
    url: _Url = None,
    data: _Data = None,
    config: _Config = None,
    key_file: _KeyFile = None,
) -> None:
    """List who read or changed what, the latest first: a table in a terminal, NDJSON when piped."""
    given = {"who": who, "action": action, "run": run, "outcome": outcome, "since": since, "until": until}
    where = _conditions(AccessParameters, given, "access")
    settings = _settings(data, config)
    with open_record(url, settings, client_access(key_file, os.environ)) as record:
        show_accesses(record, where.filter(), limit=limit, form=form)


@app.command("replay")
def _replay(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run id, or a trace id of the run.")],
    *,
    full: Annotated[bool, typer.Option("--full", help="Shorten nothing.")] = False,
    speed: Annotated[
        float | None,
        typer.Option(min=SPEED_MIN, max=SPEED_MAX, help="1 plays in the time the run took, 20 in a twentieth of it."),
    ] = None,
    from_step: Annotated[int | None, typer.Option(min=0, help="A step's seq: from its beginning on.")] = None,
    until_step: Annotated[int | None, typer.Option(min=0, help="A step's seq: to the beginning of the next.")] = None,
    as_of: Annotated[str | None, typer.Option(help="A time or a position: as the record stood then.")] = None,
    form: _Form = Form.AUTO,
    url: _Url = None,
    data: _Data = None,
    config: _Config = None,
    key_file: _KeyFile = None,
) -> None:
    """Replay one run: a timeline in a terminal, NDJSON when piped."""
    settings = _settings(data, config)
    with open_record(url, settings, client_access(key_file, os.environ)) as record:
        window = Window(from_step=from_step, until_step=until_step, as_of=as_of)
        with suppress(KeyboardInterrupt):
            show_replay(record, run, form=form, full=full, window=window, speed=speed)


@app.command("diff")
def _diff(
    run: Annotated[str, typer.Argument(metavar="A", help="A run id, or a trace id of the run.")],
    other: Annotated[str, typer.Argument(metavar="B", help="The run to compare it with.")],
    *,
    form: _Form = Form.AUTO,
    url: _Url = None,
    data: _Data = None,
    config: _Config = None,
    key_file: _KeyFile = None,
) -> None:
    """Compare two runs step by step: a table in a terminal, one document of JSON when piped."""
    settings = _settings(data, config)
    with open_record(url, settings, client_access(key_file, os.environ)) as record:
        show_diff(record, run, other, form=form)


@app.command("tail")
def _tail(
    *,
    agent: Annotated[str | None, typer.Option(help="Agent name, of the step or else of its run.")] = None,
    tool: Annotated[str | None, typer.Option(help="Tool name.")] = None,
    model: Annotated[str | None, typer.Option(help="Model name.")] = None,
    kind: Annotated[str | None, typer.Option(help="As llm, tool, mcp_client, agent.")] = None,
    outcome: Annotated[str | None, typer.Option(help="As ok, error, denied, running.")] = None,
    run: Annotated[str | None, typer.Option(help="Any id of a run.")] = None,
    service: Annotated[str | None, typer.Option(help="Service name.")] = None,
    all_steps: Annotated[bool, typer.Option("--all", help="Begin with the first step ever recorded.")] = False,
    after: Annotated[str | None, typer.Option(metavar="POSITION", help="Begin behind this position or event.")] = None,
    follow: Annotated[bool, typer.Option(help="Go on until Ctrl-C.")] = True,
    form: _Form = Form.AUTO,
    url: _Url = None,
    data: _Data = None,
    config: _Config = None,
    key_file: _KeyFile = None,
) -> None:
    """Show steps as they are recorded, from now on."""
    given = {
        "agent": agent, "tool": tool, "model": model, "kind": kind, "outcome": outcome, "run": run, "service": service,
    }  # fmt: skip
    where = _conditions(LiveParameters, given, "tail").filter()
    settings = _settings(data, config)
    with open_record(url, settings, client_access(key_file, os.environ)) as record:
        if isinstance(record, LocalRecord) and follow:
            raise FrontDoorError(
                f"no server holds {settings.data}, so nothing new will come",
                "start `spanledger serve`, or see what there is with --all --no-follow",
            )
        try:
            show_steps(record, where, START if all_steps else after, form=form, follow=follow)
        except KeyboardInterrupt:
            return


@app.command("sql")
def _sql(
    statement: Annotated[
        str, typer.Argument(metavar="STATEMENT", help="One SELECT over the views of docs/sql.md; - reads stdin.")
    ],
    *,
    limit: Annotated[int | None, typer.Option(min=1, help="Rows at most; 10000 unless given.")] = None,
    form: Annotated[
        SqlForm,
        typer.Option("--format", help="text, ndjson, csv, arrow or parquet; auto is text in a terminal, else ndjson."),
    ] = SqlForm.AUTO,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write to this file, not to stdout.")
    ] = None,
    url: _Url = None,
    data: _Data = None,
    config: _Config = None,
    key_file: _KeyFile = None,
) -> None:
    """Ask one question in SQL: a table in a terminal, NDJSON when piped."""
    text = sys.stdin.read() if statement == "-" else statement
    settings = _settings(data, config)
    with open_record(url, settings, client_access(key_file, os.environ)) as record:
        show_sql(record, text, form=form, limit=limit, output=output)


@app.command("rebuild")
def _rebuild(data: _Data = None, config: _Config = None) -> None:
    """Make the view again from the journal, and print the digest of each of its tables."""
    settings = _settings(data, config)
    if not settings.data.is_dir():
        raise FrontDoorError(f"there is no data folder {settings.data}", "name the folder of a server with --data")
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("projecting", total=None)
        rebuilt = rebuild_view(
            settings.data,
            view_memory_mb=settings.view_memory_mb,
            prices=read_prices(settings.prices),
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    print(f"frames {rebuilt.frames}, quarantined {rebuilt.quarantined}")
    for table, digest in rebuilt.digests.items():
        print(f"{table} {digest}")


@app.command("backup")
def _backup(
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="A folder that does not exist, or is empty.")],
    *,
    data: _Data = None,
    config: _Config = None,
) -> None:
    """Copy the record to another folder, checked and synced; a server may be recording meanwhile."""
    settings = _settings(data, config)
    if not settings.data.is_dir():
        raise FrontDoorError(f"there is no data folder {settings.data}", "name the folder of a server with --data")
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("copying", total=None)
        done = back_up(
            settings.data,
            destination,
            progress=lambda copied, total: progress.update(task, completed=copied, total=total),
        )
    print(f"position {done.position}, frames {done.frames}, segments {done.segments}, bytes {done.copied_bytes}")


_keys = typer.Typer(name="keys", help="Make, list, rotate and revoke keys.", no_args_is_help=True)
app.add_typer(_keys)
_Key = Annotated[str, typer.Argument(metavar="KEY", help="The visible prefix of a key, or its name.")]
_Into = Annotated[
    Path | None, typer.Option("--key-file", metavar="FILE", help="Write the key to this new file, not to stdout.")
]


@_keys.command("create")
def _create_key(
    *,
    role: Annotated[str, typer.Option(help="ingest, operator, auditor, admin or metrics.")],
    name: Annotated[str, typer.Option(help="What it is for, for people.")],
    tenant: Annotated[str, typer.Option(help="Whose record it writes or reads.")] = "default",
    expires: Annotated[str | None, typer.Option(help="How long it is valid: 90s, 15m, 24h, 30d.")] = None,
    grant: Annotated[list[str] | None, typer.Option(help="A permission beside those of the role.")] = None,
    deny: Annotated[list[str] | None, typer.Option(help="A permission of the role that it shall not have.")] = None,
    requests_per_second: Annotated[int | None, typer.Option(min=0, help="A bound of its own; 0 is none.")] = None,
    mb_per_second: Annotated[int | None, typer.Option(min=0, help="A bound of its own, in MiB; 0 is none.")] = None,
    key_file: _Into = None,
    data: _Data = None,
    config: _Config = None,
) -> None:
    """Make a key and print it, once: it is not kept and cannot be shown again."""
    key_commands.create(
        _settings(data, config),
        role=role,
        name=name,
        tenant=tenant,
        expires=expires,
        grant=grant or [],
        deny=deny or [],
        requests_per_second=requests_per_second,
        mb_per_second=mb_per_second,
        key_file=key_file,
    )


@_keys.command("list")
def _list_keys(form: _Form = Form.AUTO, data: _Data = None, config: _Config = None) -> None:
    """List the keys, the latest first: whose, what for, since and until when, last used. Never their secrets."""
    key_commands.show(_settings(data, config), text=form.is_text())


@_keys.command("rotate")
def _rotate_key(
    key: _Key,
    *,
    overlap: Annotated[str, typer.Option(help="How long the old one is valid yet: 0s, 15m, 24h.")] = (
        key_commands.OVERLAP_DEFAULT
    ),
    key_file: _Into = None,
    data: _Data = None,
    config: _Config = None,
) -> None:
    """Make another key in place of one, and print it; the old one is valid for a while yet."""
    key_commands.rotate(_settings(data, config), key, overlap=overlap, key_file=key_file)


@_keys.command("revoke")
def _revoke_key(key: _Key, data: _Data = None, config: _Config = None) -> None:
    """Let a key be of no use; a running server refuses it within a second."""
    key_commands.revoke(_settings(data, config), key)


@app.command("version")
def _version() -> None:
    """Print the version."""
    print(f"spanledger {installed_version('spanledger')}")
