"""`spanledger serve`: the parts wired into one server.

    doors bound -> data folder opened -> API and receivers started -> ready line -> ... signal -> doors closed -> flushed

Strategy: this process has the journal, the projector and the API; the receivers are a process of their own
(`spanledger.receiver`) that imports while this one opens the data folder. Everything that can be refused is refused
before a request is taken. On stdout goes the ready line and nothing else, ever. On SIGTERM or SIGINT nothing new is
accepted, what is under way ends, and the view catches up as far as time allows; what it does not reach is in the journal
and is projected at the next start.
"""

import asyncio
import gc
import os
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog
import uvloop
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from access.control import control_url
from access.errors import ControlError
from access.gate import Gate
from access.keyring import KeyHolder
from access.watch import KeyWatch
from query.app import create_app
from query.trail import Trail
from query.view import ReadLimits, View
from spanledger.doors import Doors, address, address_of, open_doors
from spanledger.errors import FrontDoorError
from spanledger.gatehouse import check_guarded, gate_of, keys_in_files
from spanledger.http_service import (
    GRACE_SECONDS,
    SHARE_OF_API,
    HttpService,
    connections_of,
    raise_descriptor_limit,
)
from spanledger.memory import settle_allocators
from spanledger.purposes import Purposes
from spanledger.receiver.readiness import WholeReadiness
from spanledger.receiver.supervisor import Receiver
from spanledger.settings import Settings, sql_limits_of
from spanledger.tls import Tls, tls_of
from spanledger.trail_keeping import TrailKeeper
from store.ledger import Ledger
from store.model.prices import read_prices

# Below the 10 s in which an orchestrator expects an end: requests first, then the view, then the process takes itself down.
END_SECONDS: Final = 8.0
LEDGER_CLOSE_SECONDS: Final = 5.0  # Of them, where requests leave so much.
LEDGER_CLOSE_SECONDS_MIN: Final = 1.0
RECEIVER_END_SECONDS: Final = 1.0  # Beside the time that its requests have (`GRACE_SECONDS`): to take itself down.

_log: Final = structlog.stdlib.get_logger(__name__)


class ServiceStopped(FrontDoorError):
    """One of the services ended without being asked to."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What the ready line says."""

    otlp_grpc: str
    otlp_http: str
    api: str
    data: str

    def addresses(self) -> dict[str, str]:
        """What the data folder's lock file holds, so that other commands find this server."""
        return {"otlp_grpc": self.otlp_grpc, "otlp_http": self.otlp_http, "api": self.api}

    def line(self) -> bytes:
        return msgspec.json.encode({"event": "ready", **self.addresses(), "data": self.data}) + b"\n"


def serve(settings: Settings) -> None:
    """Run the server until a signal ends it. Raises FrontDoorError, StoreError or CollectorError where it cannot."""
    prices = read_prices(settings.prices)
    tls = tls_of(settings)
    holder = KeyHolder()
    gate = gate_of(settings, holder)
    doors = open_doors(settings)
    settle_allocators()
    _settle_garbage_collector()
    with ExitStack() as opened:
        opened.callback(gc.unfreeze)  # What was set aside is taken down in the ordinary way when the process ends.
        opened.callback(doors.close)
        watch = _watch_keys(settings, holder)
        opened.callback(watch.stop)
        opened.callback(gate.close)
        registry = _registry()
        receiver = Receiver(settings, doors, registry, holder, gate.refusals)
        try:
            ledger = Ledger.open(
                settings.data, registry=registry, view_memory_mb=settings.view_memory_mb, prices=prices
            )
            watch.listen(receiver.tell_keys)
            watch.start()
            end = _End()
            trail = Trail(ledger.record, gate.refusals, redact=Purposes(settings).redact)
            keeper = TrailKeeper(trail, ledger, lambda: watch.control)
            try:
                process = _Process(
                    settings,
                    doors,
                    ledger,
                    receiver,
                    registry=registry,
                    end=end,
                    gate=gate,
                    trail=trail,
                    keeper=keeper,
                    tls=tls,
                )
                keeper.start()
                uvloop.run(process.run())
            finally:
                keeper.stop()
                ledger.close(end.seconds_for_the_view())
        finally:
            receiver.stop(0)
    _log.info("stopped")


def _watch_keys(settings: Settings, holder: KeyHolder) -> KeyWatch:
    """The keys there are, and those that the settings give in files. Raises FrontDoorError."""
    try:
        watch = KeyWatch(control_url(settings.data, settings.control_url), holder, make=keys_in_files(settings))
    except ControlError as error:
        raise FrontDoorError(str(error), "correct control_url, or see who may write the data folder") from error
    try:
        check_guarded(settings, holder)
    except FrontDoorError:
        watch.stop()
        raise
    return watch


class _End:
    """The time that is left at the end."""

    def __init__(self) -> None:
        self._begun: float | None = None

    def begin(self) -> None:
        self._begun = time.monotonic()

    def seconds_for_the_view(self) -> float:
        """How long the view may catch up."""
        spent = time.monotonic() - self._begun if self._begun is not None else 0.0
        return min(max(END_SECONDS - spent, LEDGER_CLOSE_SECONDS_MIN), LEDGER_CLOSE_SECONDS)


class _Process:
    """The running services: the API in this process, the receivers in theirs."""

    def __init__(
        self,
        settings: Settings,
        doors: Doors,
        ledger: Ledger,
        receiver: Receiver,
        *,
        registry: CollectorRegistry,
        end: _End,
        gate: Gate,
        trail: Trail,
        keeper: TrailKeeper,
        tls: Tls | None,
    ) -> None:
        self._settings = settings
        self._doors = doors
        self._ledger = ledger
        self._receiver = receiver
        waiter = WholeReadiness(ledger.waiter, receiver)
        self._api_app = create_app(
            reader=ledger.reader,
            waiter=waiter,
            registry=registry,
            gate=gate,
            trail=trail,
            limits=ReadLimits(sql=sql_limits_of(settings)),
        )
        self._keeper = keeper
        self._view: View = self._api_app.state.view
        self._end = end
        self._tls = tls

    async def run(self) -> None:
        """Start, say so, wait for a signal, stop."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop, number, stop)
        api = HttpService(self._api_app, connections_of(raise_descriptor_limit(), SHARE_OF_API), self._tls)
        serving = loop.create_task(api.serve([self._doors.api]), name="api")
        receiving = asyncio.wrap_future(self._receiver.over)
        services = (serving, receiving)
        listening = loop.create_task(api.listening.wait())
        stopped = loop.create_task(stop.wait())
        received: asyncio.Future[int] | None = None
        try:
            await _first(services, listening)
            received = asyncio.wrap_future(self._receiver.attend(self._ledger, self._keeper.hear_policy))
            await _first(services, received, stopped)
            if received.done():
                self._announce(received.result())
                await _first(services, stopped)
        finally:
            self._end.begin()
            self._view.close()
            api.should_exit = True
            await asyncio.to_thread(self._receiver.stop, GRACE_SECONDS + RECEIVER_END_SECONDS)
            for waiting in (receiving, received, listening, stopped):
                if waiting is not None:
                    waiting.cancel()
            await asyncio.gather(serving, receiving, *filter(None, (received,)), return_exceptions=True)

    def _asked_to_stop(self, number: int, stop: asyncio.Event) -> None:
        _log.info("stopping", signal=signal.Signals(number).name)
        stop.set()

    def _announce(self, grpc_port: int) -> None:
        host = self._doors.host
        scheme = "https://" if self._tls else "http://"
        ready = Ready(
            otlp_grpc=address(host, grpc_port),
            otlp_http=scheme + address_of(self._doors.otlp_http, host),
            api=scheme + address_of(self._doors.api, host),
            data=str(self._settings.data.resolve()),
        )
        self._ledger.publish(ready.addresses())
        _log.info("ready", **ready.addresses(), data=ready.data)
        _say(ready.line())


async def _first(services: tuple[asyncio.Future[None], ...], *awaited: asyncio.Future[Any]) -> None:
    """Wait for the first of `awaited`. Raises FrontDoorError when a service ends before."""
    await asyncio.wait((*awaited, *services), return_when=asyncio.FIRST_COMPLETED)
    if any(one.done() for one in awaited):
        return
    ended = next(service for service in services if service.done())
    cause = None if ended.cancelled() else ended.exception()
    if isinstance(cause, FrontDoorError):
        raise cause
    raise ServiceStopped(f"the service of the API ended: {cause or 'without a cause'}", "see the log")


def _say(line: bytes) -> None:
    """Write the one line of stdout. Whoever waits for it may be gone; the server is not theirs alone."""
    try:
        sys.stdout.buffer.write(line)
        sys.stdout.flush()
    except BrokenPipeError:
        _log.warning("ready_line_unread")
        # The interpreter flushes stdout once more at its end, and would fail there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _settle_garbage_collector() -> None:
    """Recorded traces are many small objects that live for a while and form no cycles: looking at all of them every 700
    allocations takes half of the projector's time, and looking every 50,000 a seventh. What dies young is not looked at.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(500_000, 20, 1_000)


def _registry() -> CollectorRegistry:
    """A registry of this process's own, with the standard process metrics."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
