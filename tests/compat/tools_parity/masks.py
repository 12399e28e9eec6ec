"""Takes out of a tool's output what is a matter of chance: ids, times, hosts, ports, folders."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Collection, Iterable
from typing import Any

_UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
#: Put on every line, in this order.
ALWAYS: tuple[tuple[str, str], ...] = (
    (rf"\b(?:[\w.]+-)*{_UUID}", "ID"),
    (r"(TopicId: )\S+", r"\1ID"),
    (r"/?(127\.0\.0\.1|localhost):\d+", "ADDRESS"),
    (r"\b127\.0\.0\.1 +\d+", "ADDRESS"),
    # The coordinator of a group, as kafka-consumer-groups names it.
    (r"ADDRESS +\(\d+\)", "ADDRESS (NODE)"),
    (r"/127\.0\.0\.1", "ADDRESS"),
    (r"(Cluster ID: )\S+", r"\1ID"),
    (r'("topicId": )"[^"]+"', r"\1ID"),
    (r"(topicPartitions=)[\w,.-]+(?=, target|\))", r"\1..."),
    (r"\bDATA/node-\d+", "DATA"),
    # These sets have another order in every JVM.
    (r"((Valid \w+ are|these options|following options|following scenarios): ).*", r"\1..."),
    (r"\b(adminclient|console-consumer)-\d+", r"\1-N"),
    (r"\b(19|20)\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d([.,:]\d+)?", "TIME"),
    (r"\b1[789]\d{11}\b", "NOW"),
)
#: Frames of a Java stack trace, which tell where in the tool something was noticed.
_FRAME = re.compile(r"^\s+at |^\s*\.\.\. \d+ more$")
#: Where the list of a tool's options begins, which goes on to the end.
_USAGE = re.compile(r"^Option( \(\* = required\))?\s+Description|^usage: ")

#: Groups that the console consumer and the perf tools make up.
_DRAWN = re.compile(r"(console-consumer|perf-consumer|test-group)-\d+$")

Mask = Callable[[list[str]], list[str]]


def _numbers(lines: Iterable[str]) -> list[str]:
    """Figures of a measurement."""
    return [re.sub(r"\d+(\.\d+)?(E-?\d+)?|NaN|Infinity", "N", line) for line in lines]


def _rows(lines: list[str]) -> list[str]:
    """In sorted order: the tool goes through a hash map."""
    return sorted(lines)


def _records(lines: list[str]) -> list[str]:
    """JSON objects one after another, as the formatters of the offsets topic print them: by key the
    values in their order, so that the order of two keys does not count. Without groups whose
    name a tool has drawn: which partition they are in is chance.
    """
    values: dict[str, list[str]] = {}
    decoder = json.JSONDecoder()
    text = "\n".join(lines).strip()
    while text:
        found, end = decoder.raw_decode(text)
        text = text[end:].strip()
        if _DRAWN.match(found["key"]["data"]["group"]):
            continue
        value = json.dumps(found["value"], sort_keys=True)
        values.setdefault(json.dumps(found["key"]), []).append(value)
    return [f"{key}: {value}" for key in sorted(values) for value in values[key]]


def _json(lines: list[str]) -> list[str]:
    """Each line that is JSON with sorted keys, one entry a line."""
    shown = []
    for line in lines:
        try:
            found: Any = json.loads(line)
        except ValueError:
            shown.append(line)
        else:
            shown += json.dumps(found, sort_keys=True, indent=1).splitlines()
    return shown


def _events(lines: list[str]) -> list[str]:
    """What the verifiable tools tell, without figures of speed and how records were batched: each
    kind of event with its last content. Records stand for themselves.
    """
    last: dict[str, str] = {}
    for line in lines:
        event = json.loads(line)
        for name in ("timestamp", "avg_throughput", "target_throughput", "count", "partitions"):
            event.pop(name, None)
        key = event["name"]
        if key in ("producer_send_success", "record_data"):
            key += f" {event['partition']} {event['offset']}"
        last[key] = json.dumps(event, sort_keys=True)
    return [last[key] for key in sorted(last)]


#: Before and after ids and times are masked.
MASKS: tuple[dict[str, Mask], dict[str, Mask]] = (
    {"events": _events, "json": _json, "records": _records},
    {"numbers": _numbers, "rows": _rows},
)


def masked(text: str, places: dict[str, str], names: Collection[str]) -> list[str]:
    """Lines of an output without chance. places: texts of this run (folders) and their names."""
    for place, name in places.items():
        text = text.replace(place, name)
    first, last = MASKS
    assert not (unknown := set(names) - first.keys() - last.keys()), unknown
    lines = [line for line in text.splitlines() if line.strip() and not _FRAME.match(line)]
    for name in first.keys() & names:
        lines = first[name](lines)
    shown = []
    for line in lines:
        if _USAGE.match(line):
            shown.append("USAGE")
            break
        for pattern, mask in ALWAYS:
            line = re.sub(pattern, mask, line)
        # Columns are as wide as ids and addresses.
        shown.append(" ".join(line.split()))
    for name in last.keys() & names:
        shown = last[name](shown)
    return _sorted_errors(shown)


def _sorted_errors(lines: list[str]) -> list[str]:
    """Errors that a client logs for the partitions of one answer, one after another, sorted."""
    shown: list[str] = []
    for logged, group in itertools.groupby(lines, lambda line: line.startswith("[TIME] ERROR")):
        same = list(group)
        shown += sorted(same) if logged else same
    return shown
