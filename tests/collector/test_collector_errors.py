import pytest

from collector import errors
from collector.errors import ANSWERS, RETRY_SECONDS_MAX, CollectorError, Overloaded, answer_for, message_for
from store import errors as store_errors

# What the OTLP specification lets a sender repeat.
RETRYABLE_HTTP = {429, 502, 503, 504}


def descendants(root: type[Exception]) -> list[type[Exception]]:
    return [found for child in root.__subclasses__() for found in (child, *descendants(child))]


@pytest.mark.parametrize("cause", ANSWERS, ids=lambda cause: cause.__name__)
def test_a_status_is_retryable_for_senders_exactly_where_the_table_says_so(cause: type[Exception]) -> None:
    answer = ANSWERS[cause]
    assert (answer.http_status in RETRYABLE_HTTP) == answer.retryable


def test_nobody_is_asked_to_wait_for_longer_than_an_exporter_keeps_a_batch() -> None:
    assert RETRY_SECONDS_MAX <= 10 / 2, "the exporters' timeout is 10 s and some of it is over when the refusal comes"
    waits = [answer.retry_after_seconds for answer in ANSWERS.values() if answer.retryable]
    assert max(waits) <= RETRY_SECONDS_MAX
    assert min(waits) >= 1


def test_an_error_that_knows_when_to_come_back_says_so() -> None:
    assert answer_for(Overloaded("full", 3)).retry_after_seconds == 3
    assert answer_for(Overloaded("full")).retry_after_seconds == ANSWERS[Overloaded].retry_after_seconds


@pytest.mark.parametrize("cause", descendants(CollectorError), ids=lambda cause: cause.__name__)
def test_every_error_a_request_can_meet_has_a_row_of_its_own(cause: type[Exception]) -> None:
    not_for_requests = {errors.PortUnavailable, errors.ClientDisconnected}
    assert (cause in ANSWERS) != (cause in not_for_requests)


@pytest.mark.parametrize(
    "cause",
    [store_errors.JournalFull, store_errors.JournalFailed, store_errors.JournalClosed, store_errors.MalformedOtlp],
)
def test_the_table_and_the_store_agree_on_what_is_retryable(cause: type[store_errors.StoreError]) -> None:
    assert ANSWERS[cause].retryable == cause.retryable


def test_an_error_without_a_row_is_answered_as_its_nearest_parent() -> None:
    class JournalVeryFull(store_errors.JournalFull):
        pass

    assert answer_for(JournalVeryFull("no room")).reason == "journal_full"
    assert answer_for(store_errors.JournalCorrupt("checksum")).reason == "storage"
    assert answer_for(ZeroDivisionError()).reason == "internal"


def test_what_we_did_not_word_is_not_told_to_senders() -> None:
    assert message_for(store_errors.JournalFull("no room")) == "no room"
    assert "secret" not in message_for(KeyError("secret"))
