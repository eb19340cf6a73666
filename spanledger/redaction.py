"""The boundary that the settings ask for: redaction with the built-in policy, with a file's, or none."""

from collections.abc import Callable
from typing import Final

import structlog

from collector.boundary import Boundary, PassThrough
from collector.redaction.boundary import RedactingBoundary
from collector.redaction.errors import PolicyUnusable
from collector.redaction.policy import built_in_policy
from collector.redaction.pseudonyms import read_key
from collector.redaction.source import PolicyFile
from spanledger.errors import FrontDoorError
from spanledger.settings import Settings

_log: Final = structlog.stdlib.get_logger(__name__)


def boundary_of(settings: Settings, on_policy: Callable[[bool], None] = lambda _: None) -> Boundary:
    """`on_policy` hears whether the policy's file can be used, each time that it was read again.

    Raises FrontDoorError where the policy or the key cannot be used.
    """
    if settings.redaction == "off":
        _log.warning("redaction_off", effect="secrets and personal data that agents send are stored as they come")
        return PassThrough()
    try:
        return _redacting(settings, on_policy)
    except PolicyUnusable as error:
        raise FrontDoorError(str(error), "correct it, or leave the setting away for the built-in policy") from error


def _redacting(settings: Settings, on_policy: Callable[[bool], None]) -> RedactingBoundary:
    path = settings.pseudonym_key_file
    pseudonyms = read_key(path, settings.data) if path else None
    if settings.redaction_policy is None:
        policy = built_in_policy()
        boundary = RedactingBoundary(lambda: policy, pseudonyms)
    else:
        file = PolicyFile(settings.redaction_policy, has_key=path is not None, on_read=on_policy)
        boundary = RedactingBoundary(file.current, pseudonyms)
    boundary.prepare()
    return boundary
