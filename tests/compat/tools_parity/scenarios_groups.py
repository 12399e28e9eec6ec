"""kafka-consumer-groups and kafka-groups: listing, describing, deleting; with members or not."""

from __future__ import annotations

from tests.compat.tools_parity.steps import (
    NO_GROUPS,
    Commit,
    Join,
    Leave,
    Produce,
    Run,
    Step,
    scenario,
)

_RECORDS = (("a", "b", "c", "d"), ("a", "b", "c", "d", "e", "f"))


def _topic(name: str) -> tuple[Step, ...]:
    return (
        Run(f"kafka-topics --create --topic {name} --partitions 2"),
        *(Produce(name, partition, values) for partition, values in enumerate(_RECORDS)),
    )


_DESCRIBES = (
    "",
    "--offsets",
    "--offsets --verbose",
    "--members",
    "--members --verbose",
    "--state",
    "--state --verbose",
)


def _describe(which: str, masks: tuple[str, ...] = ()) -> tuple[Step, ...]:
    return tuple(
        Run(f"kafka-consumer-groups --describe {which} {words}".rstrip(), masks=masks)
        for words in _DESCRIBES
    )


_LISTS = (
    "",
    "--state",
    "--type",
    "--state --type",
    "--state Stable",
    "--state stable,Empty",
    "--state Empty",
    "--state Dead",
    "--state Nonsense",
    "--type classic",
    "--type consumer",
    "--type Classic --state Empty",
    "--type share",
    "--type nonsense",
)

for _protocol in ("classic", "consumer"):
    _name = f"gl-{_protocol}"
    scenario(
        f"group-with-a-member-{_protocol}",
        NO_GROUPS,
        *_topic(_name),
        Join("one", _name, (_name,), records=10, partitions=2, protocol=_protocol),
        *(Run(f"kafka-consumer-groups --list {words}".rstrip()) for words in _LISTS),
        Run("kafka-groups --list"),
        Run("kafka-groups --list --consumer"),
        Run("kafka-groups --list --share"),
        Run("kafka-groups --list --streams"),
        Run(f"kafka-groups --list --protocol {_protocol}"),
        Run("kafka-groups --list --protocol connect"),
        Run("kafka-groups --list --group-type classic"),
        Run("kafka-groups --list --group-type consumer --protocol consumer"),
        Run("kafka-groups --list --group-type nonsense"),
        *_describe(f"--group {_name}"),
        *_describe("--all-groups"),
        Run(
            f"kafka-consumer-groups --describe --group {_name} --members --verbose",
            shows=f"MEMBER one ADDRESS one 2 .* {_name}:0,1",
        ),
        Produce(_name, 1, ("g", "h")),
        Run(f"kafka-consumer-groups --describe --group {_name}", until=r" 8 +8 +0 "),
        Run(
            f"kafka-consumer-groups --delete --group {_name}",
            shows="GroupNotEmptyException: The group is not empty",
        ),
        Run(
            f"kafka-consumer-groups --delete-offsets --group {_name} --topic {_name}",
            shows="GroupSubscribedToTopicException",
        ),
        Run(f"kafka-consumer-groups --delete-offsets --group {_name} --topic {_name}:0"),
        *(
            Run(f"kafka-consumer-groups --reset-offsets --group {_name} --topic {_name} {words}")
            for words in ("--to-earliest --dry-run", "--to-earliest --execute")
        ),
        Run(f"kafka-topics --delete --topic {_name}x --if-exists"),
        Leave("one"),
        Run("kafka-consumer-groups --list --state", shows=f"^{_name} Empty$"),
        Run("kafka-consumer-groups --list --type"),
        Run("kafka-groups --list"),
        Run("kafka-groups --list --consumer"),
        *_describe(f"--group {_name}"),
        Run(f"kafka-consumer-groups --delete-offsets --group {_name} --topic {_name}:0"),
        Run(f"kafka-consumer-groups --describe --group {_name}"),
        Run(f"kafka-consumer-groups --delete-offsets --group {_name} --topic {_name}:0,1"),
        Run(f"kafka-consumer-groups --delete-offsets --group {_name} --topic {_name}:7"),
        Run(f"kafka-consumer-groups --delete-offsets --group {_name} --topic gl-none"),
        Run(f"kafka-consumer-groups --describe --group {_name}"),
        Run(f"kafka-consumer-groups --delete --group {_name}"),
        Run(f"kafka-consumer-groups --delete --group {_name}"),
        Run("kafka-consumer-groups --list"),
        Run(f"kafka-topics --delete --topic {_name}"),
    )

    _name = f"gm-{_protocol}"
    scenario(
        f"group-with-members-{_protocol}",
        *_topic(_name),
        *_topic(f"{_name}-b"),
        Join(
            "one",
            _name,
            (_name,),
            records=10,
            partitions=2,
            protocol=_protocol,
        ),
        Join(
            "two",
            _name,
            (_name, f"{_name}-b"),
            records=10,
            # The assignor range goes topic by topic, uniform over all of them.
            partitions=3 if _protocol == "classic" else 2,
            protocol=_protocol,
        ),
        Run(
            f"kafka-consumer-groups --describe --group {_name} --state",
            until=r"Stable +2",
        ),
        *_describe(f"--group {_name}", masks=("rows",)),
        Run(f"kafka-consumer-groups --delete --group {_name} --group gm-none"),
        Leave("two"),
        Leave("one"),
        Run(f"kafka-consumer-groups --describe --group {_name} --offsets"),
        Run(f"kafka-consumer-groups --describe --group {_name} --members"),
        Run(f"kafka-consumer-groups --delete --group {_name}"),
        Run(f"kafka-topics --delete --topic '{_name}.*'"),
    )

_ASSIGNED: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("roundrobin", "classic", {"partition.assignment.strategy": "roundrobin"}),
    ("cooperative-sticky", "classic", {"partition.assignment.strategy": "cooperative-sticky"}),
    ("range", "consumer", {"group.remote.assignor": "range"}),
)

scenario(
    "group-assignors",
    NO_GROUPS,
    *_topic("ga"),
    *(
        step
        for _assignor, _protocol, _settings in _ASSIGNED
        for step in (
            Join("one", f"ga-{_assignor}", ("ga",), 10, 2, _protocol, _settings),
            Run(
                f"kafka-consumer-groups --describe --group ga-{_assignor} --state --verbose",
                shows=f" {_assignor} Stable ",
            ),
            Run(f"kafka-consumer-groups --describe --group ga-{_assignor} --members --verbose"),
            Leave("one"),
            Run(f"kafka-consumer-groups --describe --group ga-{_assignor} --state --verbose"),
        )
    ),
    NO_GROUPS,
    Run("kafka-topics --delete --topic ga"),
)

scenario(
    "group-of-both-protocols",
    NO_GROUPS,
    *_topic("gx"),
    Join("one", "gx", ("gx",), records=10, partitions=2),
    Join("two", "gx", ("gx",), partitions=1, protocol="consumer"),
    Run(
        "kafka-consumer-groups --describe --group gx --members",
        until=r"one +1\s(.*\n)*.* two +1\s|two +1\s(.*\n)*.* one +1\s",
        masks=("rows",),
    ),
    Run("kafka-consumer-groups --describe --group gx --members --verbose", masks=("rows",)),
    Run("kafka-consumer-groups --describe --group gx --state", shows="Stable 2$"),
    Run("kafka-consumer-groups --describe --group gx --offsets", masks=("rows",)),
    Run("kafka-consumer-groups --list --type"),
    Run("kafka-groups --list"),
    Leave("one"),
    Leave("two"),
    Run("kafka-consumer-groups --list --type --state"),
    Run("kafka-consumer-groups --delete --group gx"),
    Run("kafka-topics --delete --topic gx"),
)

scenario(
    "group-validation",
    NO_GROUPS,
    Run("kafka-topics --create --topic gv"),
    *_describe("--group gv-none"),
    Run("kafka-consumer-groups --describe --group gv-none --group gv-other"),
    Run("kafka-consumer-groups --describe"),
    Run("kafka-consumer-groups --describe --group g --members --offsets"),
    Run("kafka-consumer-groups --describe --group g --all-groups"),
    Run("kafka-consumer-groups"),
    Run("kafka-consumer-groups --list --describe"),
    Run("kafka-consumer-groups --list --bootstrap-server {bootstrap} --timeout 20000"),
    Run("kafka-consumer-groups --delete --group gv-none"),
    Run("kafka-consumer-groups --delete --group gv-none --group gv-other"),
    Run("kafka-consumer-groups --delete"),
    Run("kafka-consumer-groups --delete --group g --topic gv"),
    Run("kafka-consumer-groups --delete-offsets --group gv-none --topic gv"),
    Run("kafka-consumer-groups --delete-offsets --group gv-none --topic gv-none"),
    Run("kafka-consumer-groups --delete-offsets --group gv-none"),
    Run("kafka-consumer-groups --validate-regex 'a.*|b+'"),
    Run("kafka-consumer-groups --validate-regex '('"),
    Run("kafka-share-groups --list"),
    Run("kafka-streams-groups --list"),
    Run("kafka-groups"),
    Run("kafka-groups --list --consumer --share"),
    Run("kafka-topics --delete --topic gv"),
)

scenario(
    "group-metadata-string",
    NO_GROUPS,
    *_topic("gs"),
    Commit("gs-g", "gs", {0: (2, "read by hand"), 1: (5, "")}),
    Run("kafka-consumer-groups --describe --group gs-g"),
    Run("kafka-consumer-groups --describe --group gs-g --verbose"),
    Run("kafka-consumer-groups --describe --group gs-g --state"),
    Run("kafka-consumer-groups --describe --all-groups"),
    Run("kafka-consumer-groups --describe --all-groups --state"),
    Run("kafka-consumer-groups --list --state Empty --type classic"),
    Run("kafka-groups --list"),
    Run("kafka-groups --list --consumer"),
    # The offsets of a deleted topic end with it.
    Run("kafka-topics --delete --topic gs"),
    Run("kafka-consumer-groups --describe --group gs-g", until=r"^\s*$"),
    Run("kafka-consumer-groups --list"),
    Run("kafka-consumer-groups --delete --group gs-g"),
)

scenario(
    "group-delete-all",
    NO_GROUPS,
    *_topic("gd"),
    Commit("gd-1", "gd", {0: (1, "")}),
    Commit("gd-2", "gd", {0: (2, "")}),
    Commit("gd-3", "gd", {1: (3, "")}),
    Run("kafka-consumer-groups --list", masks=("rows",)),
    Run("kafka-consumer-groups --describe --all-groups --offsets", masks=("rows",)),
    Run("kafka-consumer-groups --delete --group gd-1 --group gd-none", masks=("rows",)),
    Run("kafka-consumer-groups --delete --all-groups"),
    Run("kafka-consumer-groups --list"),
    Run("kafka-topics --delete --topic gd"),
)
