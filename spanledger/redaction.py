"""The boundary that the settings ask for: redaction with the built-in policy, with a file's, or none."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import structlog

from collector.boundary import Boundary, PassThrough
from collector.redaction.boundary import RedactingBoundary
from collector.redaction.errors import PolicyUnusable
from collector.redaction.policy import built_in_policy
from collector.redaction.pseudonyms import read_key
from collector.redaction.source import PolicyFile
from spanledger.errors import FrontDoorError
from spanledger.settings import Settings

OFF: Final = "off"
_log: Final = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySaid:
    """What became of a policy: `version` is in force from `at_ns` on, or still is and another was refused for `reason`."""

    version: str
    before: str
    outcome: Literal["allowed", "refused"]
    reason: str
    at_ns: int


Heard = Callable[[PolicySaid], None]


def boundary_of(settings: Settings, heard: Heard = lambda _: None) -> Boundary:
    """The boundary; `heard` is told of each policy that comes into force, the first one too, and of those that cannot.

    Raises FrontDoorError where the policy or the key cannot be used.
    """
    if settings.redaction == "off":
        heard(_said(OFF))
        _log.warning("redaction_off", effect="secrets and personal data that agents send are stored as they come")
        return PassThrough()
    try:
        return _redacting(settings, heard)
    except PolicyUnusable as error:
        raise FrontDoorError(str(error), "correct it, or leave the setting away for the built-in policy") from error


def _said(version: str, *, before: str = "", refused: str = "") -> PolicySaid:
    outcome = "refused" if refused else "allowed"
    return PolicySaid(version=version, before=before, outcome=outcome, reason=refused, at_ns=time.time_ns())


def _redacting(settings: Settings, heard: Heard) -> RedactingBoundary:
    path = settings.pseudonym_key_file
    pseudonyms = read_key(path, settings.data) if path else None
    if settings.redaction_policy is None:
        policy = built_in_policy()
        boundary = RedactingBoundary(lambda: policy, pseudonyms)
        version = policy.version
    else:
        versions: list[str] = []

        def hear(taken: str, refused: str) -> None:
            heard(_said(taken, before="" if refused else versions[-1], refused=refused))
            versions[:] = [taken]

        file = PolicyFile(settings.redaction_policy, has_key=path is not None, heard=hear)
        boundary = RedactingBoundary(file.current, pseudonyms)
        version = file.current().version
        versions.append(version)
    boundary.prepare()
    heard(_said(version))
    return boundary
