"""What hosts say to each other: it survives the wire, and a proof proves one thing only."""

from __future__ import annotations

import msgspec
import pytest

from tidelog.controller.requests import Done, UnfenceNode
from tidelog.process.hosts import messages as m
from tidelog.process.node_report import NodePhase, NodeReport

FROM = [
    m.Greeting("h", 3, b"p", b"n", -1),
    m.Alive((NodeReport(1, 2, NodePhase.SERVING, 7),)),
    m.NodeVersion(1, -1),
    m.HostAsks(1, UnfenceNode(1, 2), True),
]
TO = [m.Challenge(3, b"n"), m.Welcome(b"p"), m.Heard(), m.HostAnswer(1, Done())]


@pytest.mark.parametrize(("messages", "union"), [(FROM, m.FromHost), (TO, m.ToHost)])
def test_messages_come_out_as_they_went_in(messages: list[object], union: object) -> None:
    for message in messages:
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=union) == message


def test_a_proof_is_for_one_nonce_one_host_and_one_side() -> None:
    proof = m.proof_of(b"secret", nonce=b"n", host_id="h", of_controller=True)
    assert proof == m.proof_of(b"secret", nonce=b"n", host_id="h", of_controller=True)
    others = {
        m.proof_of(b"other", nonce=b"n", host_id="h", of_controller=True),
        m.proof_of(b"secret", nonce=b"m", host_id="h", of_controller=True),
        m.proof_of(b"secret", nonce=b"n", host_id="i", of_controller=True),
        m.proof_of(b"secret", nonce=b"n", host_id="h", of_controller=False),
    }
    assert len(others) == 4
    assert proof not in others
