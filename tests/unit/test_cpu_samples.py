"""What goes over the local socket: frames, and the names of sockets."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.profiling.samples import node_samples
from tidelog.cpu_samples import (
    LENGTH,
    Order,
    Refused,
    Thread,
    decode_answer,
    decode_order,
    encode,
    socket_name,
)


def test_messages_there_and_back() -> None:
    order = Order(1000, 997)
    frame = encode(order)
    assert LENGTH.unpack(frame[:4]) == (len(frame) - 4,)
    assert decode_order(frame[4:]) == order
    for answer in (Refused("no"), node_samples()):
        assert decode_answer(encode(answer)[4:]) == answer
    with pytest.raises(msgspec.MsgspecError):
        decode_order(encode(Refused("no"))[4:])


def test_names_of_sockets_are_abstract_and_differ() -> None:
    names = {socket_name("a", 1), socket_name("a", 2), socket_name("b", 1)}
    assert len(names) == 3 and all(name[0] == "\0" for name in names)
    assert len(socket_name("x" * 22, 2**31 - 1)) <= 108


def test_what_is_left_of_the_ticks_ran() -> None:
    assert Thread("loop", True, 0, 9, 10, 3, 2, 0, 0, 0).running_ticks == 5
