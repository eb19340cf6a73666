"""Why redaction cannot be done, or was not set up."""

from collector.errors import CollectorError


class RedactionUnavailable(CollectorError):
    """Redaction itself failed: nothing of the request is stored, and the sender may try again."""


class Unredactable(CollectorError):
    """A record cannot be redacted because of what it is. It is replaced by a marked stub, so no sender sees this."""


class PolicyUnusable(CollectorError):
    """A policy or its key cannot be used: what is wrong, in which line, and what to do."""


class ExpressionRefused(CollectorError):
    """A regular expression that the linear-time engines cannot do, or that is past a bound."""
