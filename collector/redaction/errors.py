"""Why redaction cannot be done, or was not set up."""


class Unredactable(Exception):
    """A record cannot be redacted because of what it is. It is replaced by a marked stub, so no sender sees this."""


class PolicyUnusable(Exception):
    """A policy or its key cannot be used: what is wrong, in which line, and what to do."""


class ExpressionRefused(Exception):
    """A regular expression that the linear-time engines cannot do, or that is past a bound."""
