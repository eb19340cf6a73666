"""Every way into a server, for requests that are made already: gRPC, HTTP with protobuf and with JSON, compressed or not, and
the `import` command, beside a server and without one.
"""

import gzip
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from random import Random
from typing import Any, Final

import grpc
import zstandard

from bench.hostile_server import HostileServer
from bench.load import connect
from bench.senders import RETRYABLE_GRPC, RETRYABLE_HTTP
from bench.sowing import Coding, Parcel
from store.record import Signal

_SERVICES: Final = {Signal.TRACES: "trace.v1.TraceService", Signal.LOGS: "logs.v1.LogsService"}
_METRICS_SERVICE: Final = "metrics.v1.MetricsService"
_TYPES: Final = {Coding.PROTOBUF: "application/x-protobuf", Coding.JSON: "application/json"}
_ENDINGS: Final = {Coding.PROTOBUF: "pb", Coding.JSON: "json"}
_ENCODINGS: Final = {
    "identity": lambda body: body,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": lambda body: zstandard.ZstdCompressor().compress(body),
}
_REQUEST_SECONDS_MAX: Final = 60.0
_IMPORT_SECONDS_MAX: Final = 300.0
_DETAILS: Final = "grpc-status-details-bin"  # There when the server itself answered, absent when the connection broke.


@dataclass(frozen=True, slots=True)
class Answer:
    """`door` names the way; `status` is what was said, None where the connection broke."""

    door: str
    status: str | None

    @property
    def acknowledged(self) -> bool:
        return self.status in ("200", "OK")

    @property
    def retryable(self) -> bool:
        return self.status is None or self.status in RETRYABLE_HTTP | RETRYABLE_GRPC


class Doors:
    """One sender's connections to one life of a server. One thread's. `key` is presented at each."""

    def __init__(self, server: HostileServer, key: str, rng: Random) -> None:
        self._rng = rng
        self._otlp, self._key = server.otlp, key
        self._http: HTTPConnection | None = None
        self._grpc = grpc.insecure_channel(server.grpc)

    def close(self) -> None:
        self._grpc.close()
        if self._http is not None:
            self._http.close()

    def send(self, parcel: Parcel) -> Answer:
        """Through a door that chance says, of those that take it."""
        if parcel.accepted and parcel.coding is Coding.PROTOBUF and self._rng.random() < 0.45:
            return self._over_grpc(parcel)
        return self._over_http(parcel)

    def _over_grpc(self, parcel: Parcel) -> Answer:
        compression = self._rng.choice([grpc.Compression.NoCompression, grpc.Compression.Gzip])
        door = "gRPC, gzip" if compression is grpc.Compression.Gzip else "gRPC"
        service = _SERVICES.get(parcel.signal, _METRICS_SERVICE)
        call: Any = self._grpc.unary_unary(f"/opentelemetry.proto.collector.{service}/Export")
        try:
            call(
                parcel.body,
                timeout=_REQUEST_SECONDS_MAX,
                compression=compression,
                metadata=(("authorization", f"Bearer {self._key}"),),
            )
        except grpc.RpcError as error:
            raised: Any = error
            answered = _DETAILS in {name for name, _ in raised.trailing_metadata() or ()}
            return Answer(door, raised.code().name if answered else None)
        return Answer(door, "OK")

    def _over_http(self, parcel: Parcel) -> Answer:
        encoding = self._rng.choice(list(_ENCODINGS)) if parcel.accepted else "identity"
        headers = {
            "authorization": f"Bearer {self._key}",
            "content-type": _TYPES[parcel.coding],
            "content-encoding": encoding,
        } | dict(parcel.headers)
        door = f"HTTP, {parcel.coding}" + ("" if encoding == "identity" else f", {encoding}")
        try:
            if self._http is None:
                self._http = connect(self._otlp)
            path = parcel.path or f"/v1/{parcel.signal.label}"
            self._http.request("POST", path, _ENCODINGS[encoding](parcel.body), headers)
            response = self._http.getresponse()
            response.read()
        except (OSError, HTTPException):
            with suppress(OSError):
                if self._http is not None:
                    self._http.close()
            self._http = None
            return Answer(door, None)
        return Answer(door, str(response.status))


def imported(
    parcels: Sequence[Parcel], data: Path, folder: Path, rng: Random, *, key_file: Path, redaction: str
) -> tuple[bool, bytes]:
    """Have `spanledger import` take parcels into `data`, from files in `folder`, which is empty again afterwards.

    Through the server that has the data folder, or into the folder itself where there is none. Returns whether everything was
    taken, and what the command said on both streams.
    """
    folder.mkdir(exist_ok=True)
    files = [_file(folder / f"{number:04d}", parcel, rng) for number, parcel in enumerate(parcels)]
    # What a body of protobuf is does not always show; who captures requests says it beside them.
    said = [{"file": Path(file).name, "signal": one.signal.label} for file, one in zip(files, parcels, strict=True)]
    index = folder / "index.json"
    index.write_text(json.dumps(said))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "spanledger", "import", "--data", str(data), "--key-file", str(key_file), *files],
            capture_output=True,
            timeout=_IMPORT_SECONDS_MAX,
            env=os.environ | {"SPANLEDGER_REDACTION": redaction},  # Without a server the command redacts itself.
            check=False,
        )
    finally:
        for file in (*files, index):
            Path(file).unlink()
    return done.returncode == 0, done.stdout + done.stderr


def _file(path: Path, parcel: Parcel, rng: Random) -> str:
    encoding, ending = rng.choice([("identity", ""), ("gzip", ".gz"), ("zstd", ".zst")])
    file = path.with_name(f"{path.name}.{_ENDINGS[parcel.coding]}{ending}")
    file.write_bytes(_ENCODINGS[encoding](parcel.body))
    return str(file)
