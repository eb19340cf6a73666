"""The receiver process: both OTLP doors, and everything a request passes before it is in the journal.

    python -m spanledger.receiver.process WIRE_DESCRIPTOR HTTP_DESCRIPTOR

It is started by `spanledger serve`, is told everything it must know over the wire, and lives no longer than that.
Signals are its parent's matter: a service manager sends them to every process of the service, and what is in flight here
must still be answered from there.
"""

import asyncio
import ctypes
import gc
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
import uvloop
from prometheus_client import CollectorRegistry

from access.keyring import KeyHolder, Keyring
from access.refusals import Refusals
from collector.boundary import Boundary, Shut
from collector.errors import PortUnavailable
from collector.grpc import OtlpGrpcServer
from collector.http import OtlpHttpApp
from collector.intake import Intake
from collector.metrics import IngestMetrics
from spanledger import logs
from spanledger.errors import FrontDoorError
from spanledger.gatehouse import gate_of
from spanledger.http_service import (
    GRACE_SECONDS,
    SHARE_OF_OTLP_HTTP,
    HttpService,
    connections_of,
    raise_descriptor_limit,
)
from spanledger.memory import settle_allocators
from spanledger.receiver import families
from spanledger.receiver.life import SIGNALS_OF_THE_SERVER
from spanledger.receiver.limits import limits_of
from spanledger.receiver.record import RemoteRecord
from spanledger.receiver.wire import Ended, Kind, Message, Wire
from spanledger.redaction import PolicySaid, boundary_of
from spanledger.settings import Settings
from spanledger.tls import tls_of

_PR_SET_PDEATHSIG: Final = 1  # Of sys/prctl.h.
_log: Final = structlog.stdlib.get_logger(__name__)


def main(wire_descriptor: int, http_descriptor: int) -> int:
    """Receive until the parent says stop, or is gone. Returns the exit status."""
    _live_no_longer_than_the_parent()
    wire = Wire(socket.socket(fileno=wire_descriptor))
    try:
        told = wire.receive().said()
    except Ended:
        wire.close()
        return 1
    settings = msgspec.convert(told["settings"], Settings, dec_hook=_path)
    logs.configure(settings.log_level, settings.log_format)
    settle_allocators()
    # The collector's own pace stays: a refused request is a cycle of an exception and its frames now and then, and
    # those hold a body of megabytes.
    gc.collect()
    gc.freeze()
    try:
        with socket.socket(fileno=http_descriptor) as http:
            keys = KeyHolder(Keyring.unpacked(told["keyring"]))
            return uvloop.run(_Receivers(settings, told["grpc_port"], http, wire, keys).run())
    except Ended:
        return 1
    except Exception as error:  # noqa: BLE001 - the outermost frame: the log line is all that is left of it
        _log.error("receiver_failed", exc_info=error)
        return 1


class _Receivers:
    """The two doors of the process."""

    def __init__(self, settings: Settings, grpc_port: int, http: socket.socket, wire: Wire, keys: KeyHolder) -> None:
        self._http = http
        self._wire = wire
        self._stop = asyncio.Event()
        self._status = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        registry = CollectorRegistry()
        refusals = Refusals()
        self._record = RemoteRecord(
            wire,
            keys=keys,
            metrics=lambda: families.packed(registry),
            stop=self._asked_to_stop,
            refusals=refusals,
        )
        metrics = IngestMetrics(registry)

        def policy_said(said: PolicySaid) -> None:
            metrics.policy_read(said.outcome == "allowed")
            self._record.tell_policy(said)

        self._refusal: FrontDoorError | None = None
        boundary: Boundary = Shut()  # Until there is a policy: no door opens without one, and nothing would pass it.
        try:
            boundary = boundary_of(settings, policy_said)
        except FrontDoorError as error:
            self._refusal = error
        intake = Intake(
            self._record,
            metrics=metrics,
            limits=limits_of(settings),
            boundary=boundary,
            space=self._record,
        )
        gate = gate_of(settings, keys, refusals)
        self._tls = tls_of(settings)
        credentials = self._tls.of_grpc() if self._tls else None
        self._grpc = OtlpGrpcServer(intake, gate=gate, host=settings.host, port=grpc_port, credentials=credentials)
        self._app = OtlpHttpApp(intake, gate=gate)

    async def run(self) -> int:
        """Start, say so, wait to be stopped, stop. Returns the exit status. Raises Ended."""
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._record.follow, name="wire", daemon=True).start()
        if self._refusal is not None:  # Before a door is open, so that nothing gets past it.
            refusal = self._refusal
            await self._say_ready({"grpc_port": None, "refused": str(refusal), "hint": refusal.hint})
            return 1
        try:
            port = await asyncio.to_thread(self._grpc.start)
        except PortUnavailable as error:
            message = str(error).removesuffix(f"; {error.hint}")
            await self._say_ready({"grpc_port": None, "refused": message, "hint": error.hint})
            return 1
        service = HttpService(self._app, connections_of(raise_descriptor_limit(), SHARE_OF_OTLP_HTTP), self._tls)
        serving = self._loop.create_task(service.serve([self._http]), name="otlp_http")
        listening = self._loop.create_task(service.listening.wait())
        stopped = self._loop.create_task(self._stop.wait())
        try:
            await asyncio.wait((listening, serving), return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                await self._say_ready({"grpc_port": port})
            await asyncio.wait((stopped, serving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            service.should_exit = True
            await asyncio.to_thread(self._grpc.stop, GRACE_SECONDS)
            ended = await asyncio.gather(serving, return_exceptions=True)
        if not stopped.done():
            _log.error("otlp_http_ended", cause=str(ended[0]))
            return 1
        return self._status

    async def _say_ready(self, said: dict[str, Any]) -> None:
        await asyncio.to_thread(self._wire.send, Message(Kind.READY, document=msgspec.msgpack.encode(said)))

    def _asked_to_stop(self, status: int) -> None:
        self._status = max(self._status, status)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)


def _live_no_longer_than_the_parent() -> None:
    """Be killed when the parent is: nobody is left who could say that something is stored.

    The kernel does it when the thread ends that started this process; that one ends with it, or with the parent. Where
    there is no such call, and where the parent was gone before it, the wire tells.
    """
    for number in SIGNALS_OF_THE_SERVER:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS_OF_THE_SERVER)
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _path(kind: type, value: Any) -> Any:
    return Path(value) if kind is Path else value


if __name__ == "__main__":
    status = main(int(sys.argv[1]), int(sys.argv[2]))
    sys.stderr.flush()
    os._exit(status)  # Threads of libraries that still wait must not keep the process: everything is answered.
