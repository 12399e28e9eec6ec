"""The tools that write and read records: console, verifiable and measuring ones, and the formatters
of the offsets topic.
"""

from __future__ import annotations

from tests.compat.tools_parity.steps import Commit, Join, Leave, Produce, Run, scenario
from tidelog.coordinator.partitioning import coordinator_partition

_CONSUME = "kafka-console-consumer --from-beginning --timeout-ms 20000"

scenario(
    "console-keys-and-headers",
    Run("kafka-topics --create --topic ck"),
    Run(
        "kafka-console-producer --topic ck --reader-property parse.key=true"
        " --reader-property parse.headers=true",
        stdin="a:1,b:2\tkey\tvalue\nc:3\tother\tmore\n",
    ),
    Run(
        "kafka-console-producer --topic ck --reader-property parse.key=true"
        " --reader-property key.separator=; --reader-property null.marker=NULL",
        stdin="k;v\nNULL;w\ngone;NULL\n",
    ),
    Run(
        "kafka-console-producer --topic ck --reader-property parse.key=true",
        stdin="no key here\n",
    ),
    Run(f"{_CONSUME} --topic ck --max-messages 5"),
    Run(
        f"{_CONSUME} --topic ck --max-messages 5"
        " --formatter-property print.key=true --formatter-property print.headers=true"
        " --formatter-property print.offset=true --formatter-property print.partition=true"
        " --formatter-property print.timestamp=true --formatter-property null.literal=null"
    ),
    Run(
        f"{_CONSUME} --topic ck --max-messages 5 --formatter-property print.value=false"
        " --formatter-property print.key=true --formatter-property key.separator=:"
        " --formatter-property print.delivery=true --formatter-property print.epoch=true"
    ),
    Run(
        f"{_CONSUME} --topic ck --max-messages 2"
        " --formatter org.apache.kafka.tools.consumer.LoggingMessageFormatter"
    ),
    Run(
        f"{_CONSUME} --topic ck --max-messages 2"
        " --formatter org.apache.kafka.tools.consumer.NoOpMessageFormatter"
    ),
    Run(f"{_CONSUME} --topic ck --max-messages 2 --skip-message-on-error --isolation-level x"),
    Run(f"{_CONSUME} --topic ck --max-messages 2 --isolation-level read_committed"),
    Run("kafka-topics --delete --topic ck"),
)

scenario(
    "console-partitions-and-offsets",
    Run("kafka-topics --create --topic cp --partitions 2 --config retention.ms=-1"),
    Produce("cp", 0, tuple("abcdef"), tuple(1_500_000_000_000 + n for n in range(6))),
    Produce("cp", 1, tuple("xyz"), (5, 6, 7)),
    Run("kafka-console-consumer --topic cp --partition 0 --from-beginning --max-messages 6"),
    Run("kafka-console-consumer --topic cp --partition 1 --offset 1 --max-messages 2"),
    Run("kafka-console-consumer --topic cp --partition 1 --offset earliest --max-messages 3"),
    Run("kafka-console-consumer --topic cp --partition 1 --offset latest --timeout-ms 1500"),
    Run("kafka-console-consumer --topic cp --partition 1 --offset 50 --timeout-ms 1500"),
    Run("kafka-console-consumer --topic cp --partition 1 --offset soon"),
    Run("kafka-console-consumer --topic cp --partition 7 --offset 0 --timeout-ms 1500"),
    Run("kafka-console-consumer --topic cp --offset 1"),
    Run("kafka-console-consumer --partition 1"),
    Run("kafka-console-consumer --topic cp --group g --partition 1"),
    Run(
        "kafka-console-consumer --include 'cp|none' --from-beginning --max-messages 9"
        " --timeout-ms 20000 --formatter-property print.timestamp=true"
        " --formatter-property print.partition=true",
        masks=("rows",),
    ),
    Run("kafka-topics --delete --topic cp"),
)

scenario(
    "console-producer-settings",
    Run("kafka-topics --create --topic cs"),
    *(
        Run(f"kafka-console-producer --topic cs {words}", stdin="one\ntwo äöü 日本\n")
        for words in (
            "--compression-codec gzip",
            "--compression-codec zstd --request-required-acks 1",
            "--sync --request-required-acks 0",
            "--command-property linger.ms=0 --batch-size 1",
            "--max-block-ms 10000 --timeout 10 --message-send-max-retries 1",
        )
    ),
    Run("kafka-console-producer --topic cs --compression-codec middling", stdin="x\n"),
    Run("kafka-console-producer", stdin="x\n"),
    Run("kafka-console-producer --topic 'c s' --max-block-ms 2000", stdin="x\n"),
    Run("kafka-get-offsets --topic cs"),
    Run(f"{_CONSUME} --topic cs --max-messages 10"),
    Run("kafka-topics --alter --topic cs --partitions 2"),
    Run("kafka-topics --delete --topic cs"),
)

scenario(
    "console-refused",
    Run("kafka-topics --create --topic cl --config max.message.bytes=500"),
    Run("kafka-console-producer --topic cl --sync", stdin="x" * 2000 + "\nsmall\n"),
    Run("kafka-get-offsets --topic cl"),
    Run("kafka-topics --create --topic cl-compact --config cleanup.policy=compact"),
    Run("kafka-console-producer --topic cl-compact --sync", stdin="no key\n"),
    Run("kafka-console-producer --topic cl-compact", stdin="no key\nneither\n"),
    Run("kafka-topics --create --topic cl-times --config message.timestamp.before.max.ms=60000"),
    Run(
        "kafka-verifiable-producer --topic cl-times --max-messages 1"
        " --message-create-time 1500000000000",
        masks=("events",),
    ),
    Run("kafka-topics --delete --topic 'cl.*'"),
)

for _protocol in ("classic", "consumer"):
    _name = f"cg-{_protocol}"
    scenario(
        f"console-group-{_protocol}",
        Run(f"kafka-topics --create --topic {_name}"),
        Produce(_name, 0, tuple("abcdef")),
        Run(
            f"{_CONSUME} --topic {_name} --group {_name} --max-messages 2"
            f" --command-property group.protocol={_protocol}"
        ),
        Run(f"kafka-consumer-groups --describe --group {_name}"),
        Run(
            f"kafka-console-consumer --topic {_name} --group {_name} --max-messages 4"
            f" --timeout-ms 20000 --command-property group.protocol={_protocol}"
        ),
        Run(f"kafka-consumer-groups --describe --group {_name}"),
        Run(f"kafka-consumer-groups --delete --group {_name}"),
        Run(f"kafka-topics --delete --topic {_name}"),
    )

_FORMATTER = "org.apache.kafka.tools.consumer"
_FORMATTED = (
    "kafka-console-consumer --topic __consumer_offsets --offset earliest --timeout-ms 2000"
    f" --partition {coordinator_partition('of', 50)} --formatter {_FORMATTER}"
)

_NEW_GROUP = "the reference writes a group down before its first generation, too"

scenario(
    "formatters-of-the-offsets-topic",
    Run("kafka-topics --create --topic of --partitions 2"),
    Produce("of", 0, tuple("abc")),
    Produce("of", 1, tuple("abcd")),
    Join("one", "of", ("of",), records=7, partitions=2),
    Leave("one"),
    Commit("of", "of", {0: (1, "a word")}),
    Run("kafka-consumer-groups --delete-offsets --group of --topic of:1"),
    Run("kafka-consumer-groups --delete --group of"),
    Run(
        f"{_FORMATTED}.OffsetsMessageFormatter",
        masks=("records",),
        streams=("out",),
        shows='"topic": "of".*: null$',
    ),
    Run(
        f"{_FORMATTED}.GroupMetadataMessageFormatter",
        masks=("records",),
        differs={r'^.*"generation": 0,.*$': _NEW_GROUP},
        shows='"group": "of".*: null$',
        streams=("out",),
    ),
    Run("kafka-topics --delete --topic of"),
)

scenario(
    "verifiable",
    Run("kafka-topics --create --topic ve --config retention.ms=-1"),
    Run(
        "kafka-verifiable-producer --topic ve --max-messages 20 --throughput 100000 --acks -1"
        " --value-prefix 7 --repeating-keys 3",
        masks=("events",),
    ),
    Run(
        "kafka-verifiable-producer --topic ve --max-messages 5 --throughput 100000 --acks 1"
        " --message-create-time 1500000000000",
        masks=("events",),
    ),
    Run("kafka-get-offsets --topic ve"),
    Run(f"{_CONSUME} --topic ve --max-messages 25 --formatter-property print.key=true"),
    Run(
        "kafka-verifiable-consumer --topic ve --group-id ve --max-messages 25"
        " --reset-policy earliest --verbose --session-timeout 30000",
        masks=("events",),
    ),
    Run(
        "kafka-verifiable-consumer --topic ve --group-id ve-consumer --max-messages 25"
        " --reset-policy earliest --group-protocol consumer --enable-autocommit",
        masks=("events",),
    ),
    Run("kafka-consumer-groups --describe --group ve", shows="^ve ve 0 25 25 0 "),
    Run("kafka-consumer-groups --delete --group ve --group ve-consumer", masks=("rows",)),
    Run("kafka-topics --delete --topic ve"),
    one_node=True,
)

scenario(
    "perf",
    Run("kafka-topics --create --topic pe --partitions 2"),
    Run(
        "kafka-producer-perf-test --topic pe --num-records 2000 --record-size 100 --throughput -1",
        masks=("numbers",),
    ),
    Run(
        "kafka-consumer-perf-test --topic pe --num-records 2000 --group pe --timeout 20000",
        masks=("numbers",),
    ),
    Run(
        "kafka-consumer-perf-test --topic pe --num-records 2000 --show-detailed-stats"
        " --reporting-interval 100000 --hide-header --timeout 20000",
        masks=("numbers",),
    ),
    Run(
        "kafka-e2e-latency --topic pe --num-records 50 --producer-acks 1 --record-size 60",
        masks=("numbers",),
    ),
    Run(
        "kafka-e2e-latency --topic pe-new --num-records 20 --producer-acks all --record-size 60"
        " --record-key-size 10 --num-headers 2 --record-header-key-size 4"
        " --record-header-size 9",
        masks=("numbers",),
    ),
    Run("kafka-e2e-latency --topic pe --num-records 5 --producer-acks 2 --record-size 60"),
    Run("kafka-topics --delete --topic 'pe.*'"),
)

_TRANSACTIONS = "kafka-transactions --bootstrap-server {bootstrap}"

scenario(
    "producers-of-a-partition",
    Run("kafka-topics --create --topic pp"),
    Run(
        "kafka-console-producer --topic pp --sync --command-property enable.idempotence=true",
        stdin="a\nb\nc\n",
    ),
    Run(
        f"{_TRANSACTIONS} describe-producers --topic pp --partition 0",
        masks=("numbers",),
        shows="^N N -N N NOW None$",
    ),
    Run(f"{_TRANSACTIONS} find-hanging --broker-id 1"),
    Run(f"{_TRANSACTIONS} find-hanging --broker-id 9"),
    Run("kafka-topics --delete --topic pp"),
    one_node=True,
)
