"""Who is alive, and what is decided about the nodes of those who are not."""

from __future__ import annotations

from tidelog.controller.requests import NodeDown, UnfenceNode
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import NodeRecord
from tidelog.process.hosts.liveness import Liveness, what_reports_say
from tidelog.process.node_report import NodePhase, NodeReport


def node(node_id: int, host_id: str, *, fenced: bool = False, down: bool = False) -> NodeRecord:
    return NodeRecord(
        *(node_id, 5, None, (), "h", 1, fenced, f"node-{node_id}"), down=down, host_id=host_id
    )


IMAGE = MetadataImage.from_records(
    [
        node(1, "a"),
        node(2, "b"),
        node(3, "b"),
        node(4, "b", fenced=True),
        node(5, "c"),
        node(6, ""),
    ],
    1,
)


def test_session_and_voice_are_both_needed() -> None:
    liveness = Liveness("a", 100, 0)
    liveness.there(["a", "b", "c"], 0)
    assert liveness.lost_nodes(IMAGE, 100) is None
    liveness.heard("b", 90)
    assert liveness.lost_nodes(IMAGE, 150) == NodeDown(((5, 5),), fence=True)
    # Whoever is heard again is alive again.
    liveness.heard("c", 160)
    assert liveness.lost_nodes(IMAGE, 170) is None
    # A session that ended counts at once, whatever is still heard; all nodes in one decision.
    liveness.there(["a", "c"], 170)
    assert liveness.lost_nodes(IMAGE, 170) == NodeDown(((2, 5), (3, 5)), fence=True)
    # With a new session it has its time to be heard.
    liveness.there(["a", "b", "c"], 200)
    liveness.heard("c", 290)
    assert liveness.lost_nodes(IMAGE, 300) is None
    assert liveness.lost_nodes(IMAGE, 301) == NodeDown(((2, 5), (3, 5)), fence=True)


def test_the_controllers_own_host_is_alive() -> None:
    liveness = Liveness("a", 100, 0)
    liveness.there([], 0)
    assert liveness.is_alive("a", 10_000)


def test_who_hears_less_than_half_is_cut_off() -> None:
    for others, heard, cut_off in (
        ("", "", False),
        ("b", "", False),  # one of two: either may be cut off
        ("bc", "b", False),
        ("bc", "", True),
        ("bcd", "b", False),
        ("bcd", "", True),
        ("bcde", "b", True),
    ):
        liveness = Liveness("a", 100, 0)
        liveness.there(["a", *others], 0)
        for host_id in heard:
            liveness.heard(host_id, 150)
        assert not liveness.is_cut_off(100)
        assert liveness.is_cut_off(200) is cut_off, (others, heard)
        # Whoever has no session is lost, and counts for nothing.
        liveness.there(["a"], 200)
        assert not liveness.is_cut_off(200)


def test_who_stood_still_heard_nobody() -> None:
    liveness = Liveness("a", 100, 0)
    liveness.there(["b"], 0)
    liveness.stood_still(1_000)
    assert liveness.is_alive("b", 1_100)
    assert not liveness.is_alive("b", 1_101)


def test_reports_say_what_the_metadata_does_not() -> None:
    image = MetadataImage.from_records(
        [node(1, "a"), node(2, "a", fenced=True), node(3, "a", down=True)], 1
    )
    serving = [NodeReport(n, 5, NodePhase.SERVING, 1) for n in (1, 2, 3)]
    assert list(what_reports_say(image, serving)) == [UnfenceNode(2, 5), UnfenceNode(3, 5)]
    gone = [NodeReport(n, 5, NodePhase.GONE) for n in (1, 2, 3)]
    assert list(what_reports_say(image, gone)) == [NodeDown(((1, 5),))]
    # Of other lives, of nodes that nobody knows, and of those that start: nothing.
    others = [
        NodeReport(2, 4, NodePhase.SERVING, 1),
        NodeReport(1, 6, NodePhase.GONE),
        NodeReport(9, 5, NodePhase.SERVING, 1),
        NodeReport(3, 5, NodePhase.STARTING),
    ]
    assert list(what_reports_say(image, others)) == []
