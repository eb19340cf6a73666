"""What a caller says that a read is for, taken through the boundary that telemetry passes before anything is stored."""

import threading
from collections.abc import Callable

import structlog
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from collector.boundary import Boundary
from collector.errors import RedactionUnavailable
from spanledger.errors import FrontDoorError
from spanledger.redaction import boundary_of
from spanledger.settings import Settings
from store.otlp.decode import decode
from store.record import Signal

WITHHELD = "[not stored: it could not be redacted]"

_log = structlog.stdlib.get_logger(__name__)


class Purposes:
    """Redacts purposes with the policy of a server. Thread-safe."""

    def __init__(self, settings: Settings, make: Callable[[Settings], Boundary] = boundary_of) -> None:
        """The boundary is made when the first purpose comes: its rules take half a second to compile, and few servers are
        ever told one.
        """
        self._settings = settings
        self._make = make
        self._boundary: Boundary | None = None
        self._lock = threading.Lock()

    def redact(self, tenant: str, text: str) -> str:
        """The text as it may be stored; `WITHHELD` where redaction cannot say."""
        try:
            return _through(self._made(), tenant, text)
        except (FrontDoorError, RedactionUnavailable) as error:
            _log.error("purpose_withheld", cause=str(error))
            return WITHHELD

    def _made(self) -> Boundary:
        with self._lock:
            if self._boundary is None:
                self._boundary = self._make(self._settings)
            return self._boundary


def _through(boundary: Boundary, tenant: str, text: str) -> str:
    """As the body of a log record, so that it is redacted exactly as one would be."""
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    record.body.string_value = text
    passed = boundary.apply(tenant, decode(Signal.LOGS, request.SerializeToString())).decoded
    kept = ExportLogsServiceRequest.FromString(passed.body)
    body = kept.resource_logs[0].scope_logs[0].log_records[0].body
    return body.string_value if body.HasField("string_value") else WITHHELD
