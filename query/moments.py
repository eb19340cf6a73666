"""The moments that a caller may name: a time, or a position that a receipt gave."""

from query.times import parse_time_ns
from store.contract import Moment
from store.errors import BadQuery
from store.record import Position


def moment_of(text: str) -> Moment:
    """A moment as a caller wrote it. Raises BadQuery with what was expected."""
    try:
        return Moment(time_ns=parse_time_ns(text))
    except ValueError as error:
        try:
            return Moment(position=Position.parse(text))
        except BadQuery:
            raise BadQuery("as_of", f"{error}, or a position that a receipt gave") from error
