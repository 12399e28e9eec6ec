"""kafka-consumer-groups --reset-offsets in every mode."""

from __future__ import annotations

from tests.compat.tools_parity.steps import NO_GROUPS, Commit, Produce, Run, Step, Write, scenario

_DAY_MS = 24 * 3600 * 1000
#: 2017-07-14T02:40:00 and each of the days after it.
_TIMES = tuple(1_500_000_000_000 + n * _DAY_MS for n in range(6))


def _reset(words: str, *, save: str = "", masks: tuple[str, ...] = ()) -> Step:
    line = f"kafka-consumer-groups --reset-offsets {words}"
    return Run(line, save=save, masks=masks)


_SETUP: tuple[Step, ...] = (
    NO_GROUPS,
    Run("kafka-topics --create --topic ro-a --partitions 2 --config retention.ms=-1"),
    Run("kafka-topics --create --topic ro-b --config retention.ms=-1"),
    Run("kafka-topics --create --topic ro-empty"),
    Produce("ro-a", 0, tuple("abcdef"), _TIMES),
    Produce("ro-a", 1, tuple("abcd"), _TIMES[:4]),
    Produce("ro-b", 0, tuple("abc"), _TIMES[:3]),
    Commit("ro", "ro-a", {0: (2, "first"), 1: (3, "")}),
    Commit("ro", "ro-b", {0: (1, "")}),
)
_TEARDOWN: tuple[Step, ...] = (
    Run("kafka-consumer-groups --delete --all-groups"),
    Run("kafka-topics --delete --topic 'ro-.*'"),
)
_SHOW = Run("kafka-consumer-groups --describe --group ro --offsets")

#: Every mode with a value that fits and values that do not.
_MODES = (
    "--to-earliest",
    "--to-latest",
    "--to-current",
    "--to-offset 2",
    "--to-offset 100",
    "--to-offset -1",
    "--shift-by 1",
    "--shift-by -1",
    "--shift-by 100",
    "--shift-by -100",
    "--to-datetime 2017-07-16T00:00:00.000",
    "--to-datetime 2017-07-16T02:40:00.001Z",
    "--to-datetime 2017-07-16T02:40:00.000+02:00",
    "--to-datetime 2017-07-16T02:40:00.000Z",
    "--to-datetime 2000-01-01T00:00:00.000",
    "--to-datetime 2099-01-01T00:00:00.000",
    "--to-datetime yesterday",
    "--by-duration P1D",
    "--by-duration PT0S",
    "--by-duration P36500D",
    "--by-duration soon",
)

scenario(
    "reset-offsets-modes",
    *_SETUP,
    *(_reset(f"--group ro --topic ro-a {mode} --dry-run") for mode in _MODES),
    *(
        step
        for mode in _MODES
        for step in (
            Commit("ro", "ro-a", {0: (2, "first"), 1: (3, "")}),
            _reset(f"--group ro --topic ro-a {mode} --execute"),
            _SHOW,
        )
    ),
    *_TEARDOWN,
)

scenario(
    "reset-offsets-scopes",
    *_SETUP,
    _reset("--group ro --all-topics --to-earliest --dry-run"),
    _reset("--group ro --all-topics --to-latest --execute"),
    Run("kafka-consumer-groups --describe --group ro --offsets", shows="^ro ro-a 0 6 6 0 "),
    _reset("--group ro --topic ro-a:1 --to-offset 1 --execute"),
    _reset("--group ro --topic ro-a:0,1 --shift-by -1 --execute"),
    _reset("--group ro --topic ro-a:0 --topic ro-b --to-earliest --execute"),
    _SHOW,
    _reset("--group ro --topic ro-a:9 --to-earliest --execute"),
    _reset("--group ro --topic ro-none --to-earliest --execute"),
    _reset("--group ro --topic ro-empty --to-latest --execute"),
    _reset("--group ro --topic ro-empty --to-datetime 2017-07-16T00:00:00.000 --execute"),
    _reset("--group ro --topic ro-empty --shift-by 3 --execute"),
    _SHOW,
    _reset("--group ro-new --topic ro-a --to-latest --execute"),
    _reset("--group ro-new --topic ro-a --to-current --execute"),
    _reset("--group ro-other --topic ro-a --to-current --execute"),
    _reset("--group ro-other --topic ro-a --shift-by 1 --execute"),
    _reset("--group ro-other --all-topics --to-earliest --execute"),
    Run("kafka-consumer-groups --describe --group ro-new"),
    _reset("--group ro --group ro-new --topic ro-b --to-earliest --execute", masks=("rows",)),
    _reset("--all-groups --topic ro-b --to-latest --execute", masks=("rows",)),
    _reset("--all-groups --all-topics --to-earliest --dry-run", masks=("rows",)),
    Run("kafka-consumer-groups --describe --all-groups --offsets", masks=("rows",)),
    *_TEARDOWN,
)

scenario(
    "reset-offsets-files",
    *_SETUP,
    _reset("--group ro --topic ro-a --to-offset 1 --dry-run --export", save="one.csv"),
    _reset("--group ro --from-file {dir}/one.csv --dry-run"),
    _reset("--group ro --from-file {dir}/one.csv --execute"),
    Run("kafka-consumer-groups --describe --group ro --offsets", shows="^ro ro-a 1 1 4 3 "),
    _reset("--group ro --all-topics --to-latest --export", save="all.csv"),
    _reset("--group ro --from-file {dir}/all.csv --execute --export"),
    _SHOW,
    _reset(
        "--group ro --group ro-2 --topic ro-a:0 --to-offset 3 --dry-run --export",
        save="two.csv",
        masks=("rows",),
    ),
    _reset("--group ro --group ro-2 --from-file {dir}/two.csv --execute", masks=("rows",)),
    Run("kafka-consumer-groups --describe --group ro-2"),
    Write("beyond.csv", "ro-a,0,500\nro-a,1,-5\n"),
    _reset("--group ro --from-file {dir}/beyond.csv --execute"),
    Write("bad.csv", "ro-a;0;1\n"),
    _reset("--group ro --from-file {dir}/bad.csv --execute"),
    _reset("--group ro --from-file {dir}/missing.csv --execute"),
    _SHOW,
    *_TEARDOWN,
)

scenario(
    "reset-offsets-validation",
    *_SETUP,
    _reset("--group ro --topic ro-a --to-earliest"),
    _reset("--group ro --topic ro-a --to-earliest --to-latest --execute"),
    _reset("--group ro --topic ro-a --execute"),
    _reset("--group ro --to-earliest --execute"),
    _reset("--topic ro-a --to-earliest --execute"),
    _reset("--group ro --topic ro-a --all-topics --to-earliest --execute"),
    _reset("--group ro --topic ro-a --to-earliest --dry-run --execute"),
    _reset("--group ro --topic ro-a --to-offset many --execute"),
    *_TEARDOWN,
)
