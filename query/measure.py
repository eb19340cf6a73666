"""How long the API takes, by route and status, for `/metrics`. Plain ASGI, so that streams are timed to their end."""

from time import perf_counter
from typing import Final

from prometheus_client import CollectorRegistry, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# From a lookup in the run index (a few ms) to the longest wait for a position (10 s).
_BUCKETS_SECONDS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Measured:
    """An ASGI app with a histogram of its requests. The label is the route's pattern: paths are without number."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._seconds = Histogram(
            "spanledger_api_request_seconds",
            "Time from an API request to the end of its response.",
            ("route", "status"),
            buckets=_BUCKETS_SECONDS,
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        started = perf_counter()

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, observe)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            self._seconds.labels(route, str(status)).observe(perf_counter() - started)
