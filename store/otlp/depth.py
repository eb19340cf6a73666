"""A request read by the official runtime, and in the same reading whether it is nested as little as nearly all are.

The runtime has a limit of nested messages and no setting for it. But it is quick: a request that it can follow inside as
many groups as its limit exceeds our bound is within the bound, and then nobody has to look at values one by one. Groups,
because their tags are the same whatever they hold, so that going inside is one copy of the body.
"""

from operator import attrgetter
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from store.otlp.schema import REQUEST_MESSAGES
from store.otlp.wire import varint
from store.record import Signal

# upb's limit, which Python cannot change: messages below the outermost. A test holds us to it.
RUNTIME_MESSAGES_MAX: Final = 100
# Messages below the request. What instrumentation sends comes to a dozen; a bound of the collector's on one value that is
# not below this one costs nothing to hold.
SHALLOW_MESSAGES_MAX: Final = 64

_AROUND: Final = RUNTIME_MESSAGES_MAX - SHALLOW_MESSAGES_MAX - 1  # The request itself is one below the innermost group.
_GROUP_FIELD: Final = 15  # Not the number of a signal, and its tag is one byte.
_LENGTH_DELIMITED, _GROUP, _GROUP_END = 2, 3, 4


def shallow_request(signal: Signal, body: bytes) -> Message | None:
    """The request, if no message in it is more than `SHALLOW_MESSAGES_MAX` below it; None too where it is malformed."""
    prefix, inside = _INSIDE[signal]
    try:
        outermost = _AROUND_REQUESTS.FromString(b"".join((prefix, varint(len(body)), body, _SUFFIX)))
    except DecodeError:
        return None
    return inside(outermost)


def _around_requests() -> type[Message]:
    """A message with a group like itself, and a field for the request of each signal, numbered as the signal is."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="spanledger/around.proto", package="spanledger", syntax="proto2")
    around = file.message_type.add(name="Around")
    around.field.add(
        name="around",
        number=_GROUP_FIELD,
        type=kinds.TYPE_GROUP,
        label=kinds.LABEL_OPTIONAL,
        type_name=".spanledger.Around",
    )
    for signal, message in REQUEST_MESSAGES.items():
        descriptor = message.DESCRIPTOR
        file.dependency.append(descriptor.file.name)
        around.field.add(
            name=signal.label,
            number=signal,
            type=kinds.TYPE_MESSAGE,
            label=kinds.LABEL_OPTIONAL,
            type_name=f".{descriptor.full_name}",
        )
    # The pool of the official messages: what is read inside is a message of theirs.
    pool: Any = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("spanledger.Around"))


_AROUND_REQUESTS: Final = _around_requests()
_SUFFIX: Final = bytes([_GROUP_FIELD << 3 | _GROUP_END]) * _AROUND
_INSIDE: Final = {
    signal: (
        bytes([_GROUP_FIELD << 3 | _GROUP]) * _AROUND + bytes([signal << 3 | _LENGTH_DELIMITED]),
        attrgetter(".".join(["around"] * _AROUND + [signal.label])),
    )
    for signal in Signal
}
