"""Records of Kafka's internal topics, and how their keys and values are framed.

    key    int16 record type, key struct (always its version 0)
    value  int16 version of the value struct, value struct; a null value is a tombstone

One module per family of record types, each with its RECORD_TYPES: `group`, `share` and `streams`
live in __consumer_offsets, `transaction` in __transaction_state. `consumer_protocol` and `control`
hold structs with a version in front, but without a type.

Pure; belongs to no task. Whether a value version may be written (an older node must be able to read
it) is the coordinator's decision, not made here.
"""

from struct import Struct as Packed
from typing import Final, TypeVar, cast

from tidelog._native import codec_decoder, codec_encoder
from tidelog.errors import MalformedMessageError, UnsupportedVersionError
from tidelog.protocol.schema import Data, plan

D = TypeVar("D", bound=Data)
RecordTypes = dict[int, tuple[type[Data], type[Data]]]
Buffer = bytes | bytearray | memoryview

_INT16: Final = Packed(">h")


def read_number(data: Buffer) -> int:
    """The int16 in front: a key's record type, a value's version. Raises MalformedMessageError."""
    if len(data) < _INT16.size:
        raise MalformedMessageError(f"{len(data)} bytes are no key or value of a record")
    return cast(int, _INT16.unpack_from(data)[0])


def encode_versioned(message: Data, version: int) -> bytes:
    """int16 version and the struct in that version: a record's value, a subscription, a marker."""
    return _INT16.pack(version) + codec_encoder.encode(plan(type(message), version), message)


def decode_versioned(cls: type[D], data: Buffer) -> D:
    """Reads what encode_versioned wrote. Bytes behind the struct are ignored, as Kafka does.

    Raises UnsupportedVersionError for a version without a table, and MalformedMessageError.
    """
    message, _ = codec_decoder.decode(plan(cls, read_number(data)), data, _INT16.size)
    return cast(D, message)


def encode_key(record_type: int, key: Data) -> bytes:
    """A record's key."""
    return _INT16.pack(record_type) + codec_encoder.encode(plan(type(key), 0), key)


def decode_key(types: RecordTypes, data: Buffer) -> tuple[int, Data]:
    """A record's type and key. Raises UnsupportedVersionError for an unknown type, which a reader
    of an internal topic must skip: a newer node may have written it."""
    record_type = read_number(data)
    if record_type not in types:
        raise UnsupportedVersionError(f"record type {record_type} is unknown")
    key, _ = codec_decoder.decode(plan(types[record_type][0], 0), data, _INT16.size)
    return record_type, cast(Data, key)


def decode_value(types: RecordTypes, record_type: int, data: Buffer) -> Data:
    """The value that belongs to a key of this type (not for tombstones)."""
    return decode_versioned(types[record_type][1], data)
