"""Protobuf's wire format, as far as two places need it: to write a length, and to find the parts of a canonical request."""

from collections.abc import Iterator


def varint(number: int) -> bytes:
    """A number that is not negative, as protobuf writes it."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def parts(body: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields of the message at `body[start:end]`: number, and where the content starts and ends.

    Only for what the official runtime wrote, in messages of which every field has a length and a number below 16.
    """
    at = start
    while at < end:
        number = body[at] >> 3
        length = body[at + 1]
        at += 2
        if length > 0x7F:
            length &= 0x7F
            shift = 7
            while (group := body[at]) > 0x7F:
                length |= (group & 0x7F) << shift
                shift += 7
                at += 1
            length |= group << shift
            at += 1
        yield number, at, at + length
        at += length
