"""Failures that the person at the command line can do something about. Everything else is a bug and shows as one."""


class FrontDoorError(Exception):
    """What failed and why (`str()`), and what to do about it (`hint`). `exit_status` is the process's."""

    exit_status = 1

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(FrontDoorError):
    """The command was not understood: an option, a setting or a file's name."""

    exit_status = 2
