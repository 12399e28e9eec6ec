"""kafka-streams-application-reset: offsets of input topics, intermediate and internal topics."""

from __future__ import annotations

from tests.compat.tools_parity.steps import Commit, Join, Leave, Produce, Run, Step, Write, scenario

_TIMES = tuple(1_500_000_000_000 + n * 24 * 3600 * 1000 for n in range(6))
_RESET = "kafka-streams-application-reset --application-id sr"


def _reset(words: str) -> Step:
    return Run(f"{_RESET} {words}")


_SHOW = Run("kafka-consumer-groups --describe --group sr --offsets")

scenario(
    "streams-reset-modes",
    Run("kafka-topics --create --topic sr-in --partitions 2 --config retention.ms=-1"),
    Produce("sr-in", 0, tuple("abcdef"), _TIMES),
    Produce("sr-in", 1, tuple("abc"), _TIMES[:3]),
    Commit("sr", "sr-in", {0: (4, ""), 1: (2, "")}),
    *(
        step
        for mode in (
            "",
            "--dry-run",
            "--to-latest",
            "--to-earliest",
            "--to-offset 2",
            "--to-offset 50",
            "--shift-by 1",
            "--shift-by -2",
            "--to-datetime 2017-07-16T00:00:00.000",
            "--to-datetime never",
            "--by-duration PT1H",
        )
        for step in (_reset(f"--input-topics sr-in {mode}".rstrip()), _SHOW)
    ),
    Write("plan.csv", "sr-in,0,3\nsr-in,1,1\n"),
    _reset("--input-topics sr-in --from-file {dir}/plan.csv"),
    _SHOW,
    _reset("--input-topics sr-none"),
    _reset(""),
    Run("kafka-streams-application-reset --input-topics sr-in"),
    Run("kafka-consumer-groups --delete --group sr"),
    Run("kafka-topics --delete --topic sr-in"),
)

scenario(
    "streams-reset-topics",
    Run("kafka-topics --create --topic sr-in"),
    Run("kafka-topics --create --topic sr-middle"),
    Run("kafka-topics --create --topic sr-counts-changelog"),
    Run("kafka-topics --create --topic sr-by-word-repartition"),
    Run("kafka-topics --create --topic sr-other"),
    Produce("sr-in", 0, tuple("abc")),
    Produce("sr-middle", 0, tuple("ab")),
    Commit("sr", "sr-in", {0: (3, "")}),
    _reset("--input-topics sr-in --intermediate-topics sr-middle --dry-run"),
    _reset("--input-topics sr-in --internal-topics sr-counts-changelog --dry-run"),
    _reset("--input-topics sr-in --internal-topics sr-other"),
    _reset("--input-topics sr-in --intermediate-topics sr-middle"),
    _SHOW,
    Run("kafka-topics --list --exclude-internal"),
    Run("kafka-consumer-groups --delete --group sr"),
    Run("kafka-topics --delete --topic 'sr-.*'"),
)

scenario(
    "streams-reset-members",
    Run("kafka-topics --create --topic sr-in --partitions 2"),
    Produce("sr-in", 0, tuple("abc")),
    Produce("sr-in", 1, tuple("ab")),
    # A static member stays one after its consumer was closed, so that --force finds it.
    Join("one", "sr", ("sr-in",), 5, 2, settings={"group.instance.id": "first"}),
    _reset("--input-topics sr-in"),
    Run("kafka-consumer-groups --describe --group sr --members --verbose"),
    Leave("one"),
    Run("kafka-consumer-groups --describe --group sr --members"),
    _reset("--input-topics sr-in"),
    _reset("--input-topics sr-in --force"),
    _SHOW,
    Run("kafka-consumer-groups --describe --group sr --state"),
    Run("kafka-consumer-groups --delete --group sr"),
    Run("kafka-topics --delete --topic sr-in"),
)
