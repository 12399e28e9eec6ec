"""kafka-transactions, and what other tools show of transactions."""

from __future__ import annotations

from tests.compat.tools_parity.steps import Begin, End, Run, Step, scenario


def _transactions(
    words: str, shows: str = "", masks: tuple[str, ...] = ("numbers",), until: str = ""
) -> Step:
    line = f"kafka-transactions --bootstrap-server {{bootstrap}} {words}"
    return Run(line, masks=masks, shows=shows, until=until)


def _read(level: str, count: int) -> Step:
    return Run(
        "kafka-console-consumer --topic tx --partition 0 --offset earliest"
        f" --max-messages {count} --timeout-ms 20000 --command-property isolation.level={level}"
        " --formatter-property print.offset=true"
    )


scenario(
    "transactions",
    Run("kafka-topics --create --topic tx"),
    Begin("tx-one", "tx", 0, ("a", "b")),
    _transactions("list", shows="^tx-one N N Ongoing$"),
    _transactions("list --transactional-id-pattern tx-.*"),
    _transactions("list --transactional-id-pattern other"),
    _transactions("list --duration-filter 3600000"),
    _transactions("describe --transactional-id tx-one", shows="Ongoing .* tx-N$"),
    _transactions("describe-producers --topic tx --partition 0", shows="^N N -N N NOW N$"),
    _transactions("find-hanging --broker-id 1"),
    _transactions("find-hanging --broker-id 1 --topic tx --partition 0"),
    _read("read_uncommitted", 2),
    Run("kafka-get-offsets --topic tx"),
    End("tx-one", commit=True),
    # The answer to a commit does not wait for the markers.
    _transactions("list", until="tx-one.*CompleteCommit"),
    _transactions("describe --transactional-id tx-one"),
    _transactions("describe-producers --topic tx --partition 0"),
    Begin("tx-one", "tx", 0, ("c",)),
    End("tx-one", commit=False),
    _transactions("list", until="tx-one.*CompleteAbort"),
    Begin("tx-one", "tx", 0, ("d",)),
    End("tx-one", commit=True),
    _transactions("list", until="tx-one.*CompleteCommit"),
    _read("read_committed", 3),
    _read("read_uncommitted", 4),
    Run("kafka-get-offsets --topic tx"),
    # Somebody else ends the transaction on the partition.
    Begin("tx-two", "tx", 0, ("e",)),
    _transactions("abort --topic tx --partition 0 --start-offset 7"),
    _transactions("describe-producers --topic tx --partition 0", masks=("numbers", "rows")),
    End("tx-two", commit=False),
    _transactions("list", masks=("numbers", "rows"), until="tx-two.*CompleteAbort"),
    _transactions("abort --topic tx --partition 0 --start-offset 1"),
    _transactions("describe --transactional-id tx-none"),
    _transactions("describe"),
    Run("kafka-topics --delete --topic tx"),
    one_node=True,
)

scenario(
    "transactions-in-tools",
    Run("kafka-topics --create --topic tl"),
    Run(
        "kafka-producer-perf-test --topic tl --num-records 200 --record-size 10 --throughput 2000"
        " --transactional-id tl-perf --transaction-duration-ms 20",
        masks=("numbers",),
    ),
    Run(
        "kafka-console-consumer --topic tl --from-beginning --max-messages 200"
        " --timeout-ms 20000 --isolation-level read_committed"
        " --formatter org.apache.kafka.tools.consumer.NoOpMessageFormatter"
    ),
    Run("kafka-topics --describe --topic __transaction_state"),
    Run("kafka-topics --list --exclude-internal --topic 'tl|__t.*'"),
    Run("kafka-topics --delete --topic tl"),
    one_node=True,
)
