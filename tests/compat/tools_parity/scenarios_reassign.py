"""kafka-reassign-partitions with the rates of KIP-73. Nothing moves where there is one node, but
everything is set, shown and taken away again; test_replication_tools moves replicas between nodes.
"""

from __future__ import annotations

from tests.compat.tools_parity.steps import Run, Write, scenario

_PLAN = '{{"version": 1, "partitions": [{}]}}'
_MOVE = '{{"topic": "{}", "partition": {}, "replicas": {}}}'


def _plan(*moves: tuple[str, int, list[int]]) -> str:
    return _PLAN.format(", ".join(_MOVE.format(*move) for move in moves))


_BROKER = "kafka-configs --describe --entity-type brokers --entity-name 1"
_TOPIC = "kafka-configs --describe --entity-type topics --entity-name ra"
_TOOL = "kafka-reassign-partitions --reassignment-json-file {dir}/plan.json"

scenario(
    "reassign-throttled",
    Run("kafka-topics --create --topic ra --partitions 2"),
    Write("plan.json", _plan(("ra", 0, [1]), ("ra", 1, [1]))),
    Write("topics.json", '{"version": 1, "topics": [{"topic": "ra"}]}'),
    Run(f"{_TOOL} --verify"),
    Run(
        "kafka-reassign-partitions --generate --topics-to-move-json-file {dir}/topics.json"
        " --broker-list 1"
    ),
    Run(f"{_TOOL} --execute --throttle 5000", shows="throttle limit was set to 5000 B/s"),
    Run(_BROKER, shows=r"leader\.replication\.throttled\.rate=5000", masks=("rows",)),
    Run(_TOPIC, shows=r"leader\.replication\.throttled\.replicas=0:1,1:1", masks=("rows",)),
    Run(f"{_TOOL} --execute --additional --throttle 7000"),
    Run(f"{_TOOL} --execute --additional --throttle 0"),
    Run(_BROKER, masks=("rows",)),
    Run(f"{_TOOL} --verify --preserve-throttles"),
    Run(_BROKER, masks=("rows",)),
    Run(f"{_TOOL} --verify", shows="Clearing broker-level throttles"),
    Run(_BROKER),
    Run(_TOPIC),
    Run(f"{_TOOL} --execute --throttle -5"),
    Run(f"{_TOOL} --cancel"),
    Run("kafka-reassign-partitions --list"),
    # By hand.
    Run(
        "kafka-configs --alter --entity-type brokers --entity-default"
        " --add-config leader.replication.throttled.rate=10,follower.replication.throttled.rate=20"
    ),
    Run(_BROKER, masks=("rows",)),
    Run(
        "kafka-configs --alter --entity-type brokers --entity-default"
        " --delete-config leader.replication.throttled.rate,follower.replication.throttled.rate"
    ),
    *(
        Run(
            "kafka-configs --alter --entity-type topics --entity-name ra"
            f" --add-config {side}.replication.throttled.replicas={replicas}"
        )
        for side in ("leader", "follower")
        for replicas in ("*", "[0:1,1:1]")
    ),
    Run(_TOPIC, masks=("rows",)),
    Run("kafka-topics --delete --topic ra"),
    one_node=True,
)
