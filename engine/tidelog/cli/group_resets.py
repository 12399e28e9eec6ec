"""Where `tidelog groups reset` moves a group: the modes of kafka-consumer-groups. Runs in the
user's shell.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

import typer
from confluent_kafka.admin import AdminClient, OffsetSpec

from tidelog.cli.cluster import CommandError
from tidelog.cli.group_offsets import Key, listed_offsets
from tidelog.cli.offsets import parse_time

_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]

#: ISO 8601 without years and months, whose length differs.
_DURATION: Final = re.compile(
    r"P(?:(?P<w>\d+)W)?(?:(?P<d>\d+)D)?(?:T(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?"
)
_SHORT: Final = re.compile(r"(?P<count>\d+)(?P<unit>[smhdw])")
_UNIT_MS: Final = {
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}


class Reset(NamedTuple):
    """mode: earliest, latest, offset, shift or time; value: what it needs (ms since 1970 for
    time).
    """

    mode: str
    value: int = 0

    @classmethod
    def parse(
        cls,
        *,
        to_earliest: bool,
        to_latest: bool,
        to_offset: int | None,
        shift_by: int | None,
        to_datetime: str | None,
        by_duration: str | None,
    ) -> Self:
        """From the options, of which exactly one is given. Raises typer.BadParameter."""
        given: list[Any] = []
        if to_earliest:
            given.append(cls("earliest"))
        if to_latest:
            given.append(cls("latest"))
        if to_offset is not None:
            given.append(cls("offset", to_offset))
        if shift_by is not None:
            given.append(cls("shift", shift_by))
        if to_datetime is not None:
            given.append(cls("time", parse_time(to_datetime)))
        if by_duration is not None:
            now_ms = time.time_ns() // 1_000_000
            given.append(cls("time", max(now_ms - parse_duration_ms(by_duration), 0)))
        if len(given) != 1:
            raise typer.BadParameter(
                "one of --to-earliest, --to-latest, --to-offset, --shift-by, --to-datetime, "
                "--by-duration is needed"
            )
        return given[0]  # type: ignore[no-any-return]


def parse_duration_ms(text: str) -> int:
    """ISO 8601 (P1DT12H, PT30M) or a number with s, m, h, d, w. Raises typer.BadParameter."""
    if (short := _SHORT.fullmatch(text)) is not None:
        return int(short["count"]) * _UNIT_MS[short["unit"]]
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()):
        raise typer.BadParameter(f"--by-duration {text}: PT2H30M, P1D or 90m is expected")
    return int(
        sum(float(value) * _UNIT_MS[unit] for unit, value in found.groupdict().items() if value)
    )


def topic_names(wanted: Iterable[str]) -> list[str]:
    """The topics of what is wanted, `topic` or `topic:0,1` each. Raises typer.BadParameter."""
    names = [text.rpartition(":")[0] if ":" in text else text for text in wanted]
    if not all(names):
        raise typer.BadParameter("--topic: the name of a topic is missing")
    return names


def chosen(wanted: Iterable[str], known: Mapping[str, Sequence[int]]) -> list[Key]:
    """The partitions that `topic` or `topic:0,1` name. Raises typer.BadParameter, CommandError."""
    keys: list[Key] = []
    for text in wanted:
        topic, colon, listed = text.rpartition(":")
        if not colon:
            keys += [(text, partition) for partition in known[text]]
            continue
        for number in listed.split(","):
            if not (number.isascii() and number.isdigit()):
                raise typer.BadParameter(f"--topic {text}: TOPIC:0,1 is expected")
            if int(number) not in known[topic]:
                raise CommandError(f"topic {topic} has no partition {number}")
            keys.append((topic, int(number)))
    return list(dict.fromkeys(keys))


def planned(
    client: AdminClient, where: Reset, keys: Sequence[Key], committed: Mapping[Key, int]
) -> list[tuple[Key, int | None, int]]:
    """(partition, committed offset, new one) for each. What would lie outside of the log becomes
    its nearest end. Raises CommandError.
    """
    first = listed_offsets(client, dict.fromkeys(keys, _EARLIEST))
    end = listed_offsets(client, dict.fromkeys(keys, _LATEST))
    match where.mode:
        case "earliest":
            targets = first
        case "latest":
            targets = end
        case "offset":
            targets = dict.fromkeys(keys, where.value)
        case "time":
            found = listed_offsets(
                client, dict.fromkeys(keys, OffsetSpec.for_timestamp(where.value))
            )
            targets = {key: end[key] if offset < 0 else offset for key, offset in found.items()}
        case _:
            missing = [
                f"{topic}-{index}" for topic, index in keys if (topic, index) not in committed
            ]
            if missing:
                raise CommandError(f"--shift-by: nothing is committed for {', '.join(missing)}")
            targets = {key: committed[key] + where.value for key in keys}
    return [(key, committed.get(key), min(max(targets[key], first[key]), end[key])) for key in keys]
