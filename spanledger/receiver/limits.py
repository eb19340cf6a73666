"""The receivers' bounds, as the settings say."""

from collector.limits import KIB, MIB, Limits
from spanledger.settings import Settings


def limits_of(settings: Settings) -> Limits:
    """The receivers' bounds, as the settings say."""
    return Limits(
        body_bytes_max=settings.request_max_mb * MIB,
        compressed_bytes_max=settings.request_compressed_max_mb * MIB,
        attributes_max=settings.attributes_max,
        attribute_bytes_max=settings.attribute_max_kb * KIB,
        span_events_max=settings.span_events_max,
        span_links_max=settings.span_links_max,
        bytes_in_flight_max=settings.requests_in_flight_max_mb * MIB,
        view_lag_bytes_max=settings.view_lag_max_mb * MIB,
        view_lag_seconds_max=settings.view_lag_max_seconds,
        disk_reserve_bytes=settings.disk_reserve_mb * MIB,
    )
