"""The errors of the store: what was attempted, why it failed, what to do. One tree to catch by cause.

`retryable` tells a receiver whether the sender may try again: what the data causes is refused for good, what we cause
is retryable.
"""


class StoreError(Exception):
    """Something in the record or its view failed."""

    retryable = False


class MalformedOtlp(StoreError):
    """The bytes are not the OTLP message they claim to be. The sender must not retry."""


class MalformedAccess(StoreError):
    """A frame of access records cannot be read: it is quarantined, and no other is affected."""


class JournalError(StoreError):
    """The journal cannot be read or written."""


class JournalFull(JournalError):
    """No room, no file handle or no memory for another frame; nothing was written. Retryable: it may come back."""

    retryable = True


class JournalFailed(JournalError):
    """A write or an fsync failed, so what is on disk is unknown: the journal accepts nothing more until a restart."""

    retryable = True


class JournalClosed(JournalError):
    """The journal is shutting down. Retryable: against the next process."""

    retryable = True


class JournalCorrupt(JournalError):
    """A frame that was durable does not match its checksum, or its body cannot be read."""


class JournalVersionUnknown(JournalError):
    """The data folder was written by a newer Spanledger."""


class DataFolderLocked(StoreError):
    """Another process holds the data folder."""


class DataFolderUnusable(StoreError):
    """The data folder cannot be created, read or written."""


class BackupFailed(StoreError):
    """A backup was not made: its destination cannot be written, or there is no record to copy."""


class PricesUnusable(StoreError):
    """A table of prices cannot be read, or has an entry that says no price."""


class ViewError(StoreError):
    """The engine that holds the view failed. The record is not affected."""


class RowRefused(ViewError):
    """The engine will not take a row as it is: trying again cannot help, the frame behind it is quarantined."""


class NotFound(StoreError):
    """No such run, step or content."""


class PastNotReached(StoreError):
    """The view does not hold all that had come by the moment that is asked for. Retryable."""

    retryable = True


class PastBusy(StoreError):
    """As many moments of the past as may are being worked out. Retryable."""

    retryable = True


class BadQuery(StoreError):
    """A filter, limit or cursor that cannot be answered; `parameter` names it."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.parameter = parameter
