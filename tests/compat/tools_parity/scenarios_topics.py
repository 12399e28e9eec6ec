"""kafka-topics, kafka-get-offsets, kafka-delete-records, kafka-log-dirs and kafka-cluster."""

from __future__ import annotations

from tests.compat.tools_parity.differences import ELR, ELR_REASON, FEWER_APIS
from tests.compat.tools_parity.steps import Produce, Run, Write, scenario

_ELR_ONLY = {
    # Topics without a config of their own are listed by the reference because of that one.
    r"^Topic: .*Configs: min\.insync\.replicas=1$": ELR_REASON,
    **ELR,
}

scenario(
    "topics-create",
    Run("kafka-topics --create --topic tc-plain"),
    Run("kafka-topics --create --topic tc-three --partitions 3 --replication-factor 1"),
    Run(
        "kafka-topics --create --topic tc-configs --partitions 2"
        " --config retention.ms=86400000 --config cleanup.policy=compact,delete"
        " --config max.message.bytes=2000000"
    ),
    Run("kafka-topics --create --topic tc-assigned --replica-assignment 1,1,1,1"),
    Run("kafka-topics --create --topic tc.dots"),
    Run("kafka-topics --create --topic tc_dots", shows=r"collides with existing topic"),
    Run("kafka-topics --create --topic tc-plain --partitions 9"),
    Run("kafka-topics --create --topic tc-plain --if-not-exists --partitions 9"),
    Run("kafka-topics --create --topic tc/slash"),
    Run("kafka-topics --create --topic 'tc blank'"),
    Run("kafka-topics --create --topic .."),
    Run(f"kafka-topics --create --topic {'x' * 250}"),
    Run("kafka-topics --create --topic tc-bad --partitions 0"),
    Run("kafka-topics --create --topic tc-bad --partitions -3"),
    Run("kafka-topics --create --topic tc-bad --replication-factor 3"),
    Run("kafka-topics --create --topic tc-bad --replication-factor 0"),
    Run("kafka-topics --create --topic tc-bad --config no.such.config=1"),
    Run("kafka-topics --create --topic tc-bad --config retention.ms=x"),
    Run("kafka-topics --create --topic tc-bad --config segment.bytes=1"),
    Run("kafka-topics --create --topic tc-bad --config cleanup.policy=never"),
    Run("kafka-topics --create --topic tc-bad --replica-assignment 1,9"),
    Run("kafka-topics --create --topic tc-bad --replica-assignment 1:1"),
    Run("kafka-topics --create --topic tc-bad --replica-assignment 1 --partitions 3"),
    Run("kafka-topics --create"),
    Run("kafka-topics --list"),
    Run("kafka-topics --describe --topic 'tc-plain|tc-three|tc-configs|tc-assigned'", differs=ELR),
    Run(
        "kafka-topics --describe --topic tc-three --partition-size-limit-per-response 1",
        differs=ELR,
        shows="Partition: 2 Leader: 1",
    ),
    Run("kafka-topics --describe --topic tc-none"),
    Run("kafka-topics --describe --topic tc-none --if-exists"),
    Run("kafka-topics --describe --topics-with-overrides", differs=_ELR_ONLY),
    Run("kafka-topics --describe --topics-with-overrides --topic tc-plain", differs=_ELR_ONLY),
    Run("kafka-topics --describe --under-replicated-partitions"),
    Run("kafka-topics --describe --unavailable-partitions"),
    Run("kafka-topics --describe --under-min-isr-partitions"),
    Run("kafka-topics --describe --at-min-isr-partitions --topic tc-three"),
    Run("kafka-topics --list --topic 'tc-.*'"),
    Run("kafka-topics --list --topic no-such"),
    Run("kafka-topics --delete --topic 'tc.*'"),
    Run("kafka-topics --list --topic 'tc.*'", until=r"^\s*$"),
    one_node=True,
)

scenario(
    "topics-alter-and-delete",
    Run("kafka-topics --create --topic ta --partitions 2"),
    Run("kafka-topics --alter --topic ta --partitions 4"),
    Run("kafka-topics --describe --topic ta", until="PartitionCount: 4", differs=ELR),
    Run("kafka-topics --alter --topic ta --partitions 4"),
    Run("kafka-topics --alter --topic ta --partitions 3", shows=r"would not be an increase"),
    Run("kafka-topics --alter --topic ta --partitions 0"),
    Run("kafka-topics --alter --topic ta-none --partitions 3"),
    Run("kafka-topics --alter --topic ta-none --partitions 3 --if-exists"),
    Run("kafka-topics --alter --topic ta --partitions 6 --replica-assignment 1,1,1,1,1,1"),
    Run("kafka-topics --describe --topic ta", until="PartitionCount: 6", differs=ELR),
    Run("kafka-topics --alter --topic ta --partitions 8 --replica-assignment 1,1"),
    Run("kafka-topics --alter --topic ta --partitions 7 --replica-assignment 1,1,1,1,1,1,5"),
    Run("kafka-topics --alter --topic ta"),
    Run("kafka-topics --delete --topic ta-none"),
    Run("kafka-topics --delete --topic ta-none --if-exists"),
    Run("kafka-topics --delete --topic ta"),
    Run("kafka-topics --describe --topic ta", until="does not exist"),
    one_node=True,
)

scenario(
    "topics-internal",
    Run("kafka-consumer-groups --reset-offsets --group ti --topic ti-none --to-earliest --execute"),
    Run("kafka-topics --create --topic ti"),
    Run("kafka-consumer-groups --reset-offsets --group ti --topic ti --to-earliest --execute"),
    Run("kafka-topics --list"),
    Run("kafka-topics --list --exclude-internal"),
    Run("kafka-topics --describe --exclude-internal", differs=ELR),
    Run("kafka-topics --describe --topic __consumer_offsets", differs=ELR),
    Run("kafka-get-offsets --exclude-internal-topics"),
    Run("kafka-topics --create --topic __consumer_offsets"),
    Run("kafka-topics --delete --topic ti"),
    Run("kafka-consumer-groups --delete --group ti"),
    one_node=True,
)

_DAY_MS = 24 * 3600 * 1000
_TIMES = tuple(1_500_000_000_000 + n * _DAY_MS for n in range(6))

scenario(
    "get-offsets",
    Run("kafka-topics --create --topic go-a --partitions 3 --config retention.ms=-1"),
    Run("kafka-topics --create --topic go-b"),
    Produce("go-a", 0, ("0", "1", "2", "3", "4", "5"), _TIMES),
    Produce("go-a", 2, ("0", "1", "2")),
    Run("kafka-get-offsets --topic-partitions 'go-.*'"),
    Run("kafka-get-offsets --topic go-a"),
    Run("kafka-get-offsets --topic go-a --partitions 0,2"),
    Run("kafka-get-offsets --topic go-a --partitions 7"),
    Run("kafka-get-offsets --topic 'go-.*' --time earliest"),
    Run("kafka-get-offsets --topic 'go-.*' --time latest"),
    Run("kafka-get-offsets --topic go-a --time -1"),
    Run("kafka-get-offsets --topic go-a --time -2"),
    Run("kafka-get-offsets --topic go-a --time -3"),
    Run("kafka-get-offsets --topic go-a --time max-timestamp", shows=r"^go-a:0:5$"),
    Run("kafka-get-offsets --topic go-a --time earliest-local"),
    Run("kafka-get-offsets --topic go-a --time latest-tiered"),
    Run("kafka-get-offsets --topic go-a --time earliest-pending-upload"),
    Run(f"kafka-get-offsets --topic go-a --time {_TIMES[2]}", shows="^go-a:0:2$"),
    Run(f"kafka-get-offsets --topic go-a --time {_TIMES[2] + 1}"),
    Run(f"kafka-get-offsets --topic go-a --time {_TIMES[5] + 1}"),
    Run("kafka-get-offsets --topic go-a --time 4102444800000"),
    Run("kafka-get-offsets --topic go-a --time never"),
    Run("kafka-get-offsets --topic go-none"),
    Run("kafka-get-offsets --topic-partitions go-a:0,go-b:0-5,go-none:1"),
    Run("kafka-get-offsets --topic-partitions go-a:1-3"),
    Run("kafka-topics --delete --topic 'go-.*'"),
)

_DELETE = """{{"version": 1, "partitions": [{}]}}"""
_ENTRY = """{{"topic": "{}", "partition": {}, "offset": {}}}"""


def _delete_json(*entries: tuple[str, int, int]) -> str:
    return _DELETE.format(", ".join(_ENTRY.format(*entry) for entry in entries))


scenario(
    "delete-records",
    Run("kafka-topics --create --topic dr --partitions 2"),
    Run("kafka-topics --create --topic dr-compact --config cleanup.policy=compact"),
    Produce("dr", 0, tuple("abcdefgh")),
    Produce("dr", 1, tuple("abc")),
    Write("some.json", _delete_json(("dr", 0, 3), ("dr", 1, -1))),
    Run(
        "kafka-delete-records --offset-json-file {dir}/some.json",
        masks=("rows",),
        shows="dr-0 low_watermark: 3",
    ),
    Run("kafka-get-offsets --topic dr --time earliest"),
    Write("again.json", _delete_json(("dr", 0, 3))),
    Run("kafka-delete-records --offset-json-file {dir}/again.json"),
    Write("lower.json", _delete_json(("dr", 0, 1))),
    Run("kafka-delete-records --offset-json-file {dir}/lower.json"),
    Write("beyond.json", _delete_json(("dr", 0, 100))),
    Run("kafka-delete-records --offset-json-file {dir}/beyond.json", shows=r"OffsetOutOfRange"),
    Write("negative.json", _delete_json(("dr", 0, -7))),
    Run("kafka-delete-records --offset-json-file {dir}/negative.json"),
    Write("compact.json", _delete_json(("dr-compact", 0, 0))),
    Run("kafka-delete-records --offset-json-file {dir}/compact.json"),
    Write("twice.json", _delete_json(("dr", 0, 1), ("dr", 0, 2))),
    Run("kafka-delete-records --offset-json-file {dir}/twice.json"),
    Write("broken.json", "{"),
    Run("kafka-delete-records --offset-json-file {dir}/broken.json"),
    Run("kafka-get-offsets --topic dr --time earliest"),
    Run("kafka-console-consumer --topic dr --from-beginning --max-messages 5 --timeout-ms 20000"),
    Run("kafka-topics --delete --topic 'dr.*'"),
)

scenario(
    "log-dirs",
    Run("kafka-topics --create --topic ld --partitions 2"),
    Produce("ld", 1, ("x" * 1000,)),
    Run("kafka-log-dirs --describe --topic-list ld", masks=("json",)),
    Run("kafka-log-dirs --describe --topic-list ld --broker-list 1", masks=("json",)),
    Run("kafka-log-dirs --describe --topic-list ld --broker-list 1,7", masks=("json",)),
    Run("kafka-log-dirs --describe --topic-list ld-none", masks=("json",)),
    Run("kafka-topics --delete --topic ld"),
    one_node=True,
)

scenario(
    "cluster",
    Run("kafka-cluster cluster-id"),
    Run("kafka-cluster list-endpoints"),
    Run("kafka-cluster list-endpoints --include-fenced-brokers"),
    Run("kafka-cluster unregister --id 77"),
    Run("kafka-broker-api-versions", differs=FEWER_APIS),
    one_node=True,
)
