"""Java's properties syntax, and what becomes of a server.properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.config.broker_config import BrokerConfig
from tidelog.config.properties import (
    ConfigFileError,
    load_static,
    parse_properties,
    parse_setting,
)


def pairs(text: str) -> list[tuple[str, str, int]]:
    return [tuple(entry) for entry in parse_properties(text)]  # type: ignore[misc]


def test_syntax() -> None:
    text = (
        "# a comment\n"
        "! another = one\n"
        "\n"
        "a=1\n"
        "  b : 2  \n"
        "c 3\n"
        "d\n"
        "e = \\\n"
        "    x,\\\n"
        "    y\r\n"
        "f\\ g\\=h = i=j\n"
        "k = a\\tb\\u00e9\\\\\\q\n"
        "#ends in a backslash \\\n"
        "l=1"
    )
    assert pairs(text) == [
        ("a", "1", 4),
        ("b", "2  ", 5),
        ("c", "3", 6),
        ("d", "", 7),
        ("e", "x,y", 8),
        ("f g=h", "i=j", 11),
        ("k", "a\tbé\\q", 12),
        ("l", "1", 14),
    ]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", []),
        ("a=\\", [("a", "", 1)]),
        ("a\\", [("a", "", 1)]),
        ("=b", [("", "b", 1)]),
        ("\ufeffa=1", [("a", "1", 1)]),
        ("a=1\rb=2", [("a", "1", 1), ("b", "2", 2)]),
        ("a=x\\\\\nb=2", [("a", "x\\", 1), ("b", "2", 2)]),
        ("a=\\uD83D\\uDE00", [("a", "\U0001f600", 1)]),
        ("a\\:b:c", [("a:b", "c", 1)]),
        ("a=1\\\n#b=2", [("a", "1#b=2", 1)]),
    ],
)
def test_corners(text: str, wanted: list[tuple[str, str, int]]) -> None:
    assert pairs(text) == wanted


def test_a_bad_escape_names_its_line() -> None:
    with pytest.raises(ConfigFileError, match=r"my\.properties:2: .*hexadecimal"):
        list(parse_properties("a=1\nb=\\u12x4\n", "my.properties"))


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        entries = list(parse_properties(text))
    except ConfigFileError:
        return
    assert all(entry.line >= 1 for entry in entries)


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(c):04x}" if c in " \t\n\r\f=:#!\\" else c for c in text)


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", max_codepoint=0xD7FF), min_size=1),
            st.text(st.characters(codec="utf-8", max_codepoint=0xD7FF)),
        )
    )
)
def test_written_pairs_are_read_back(wanted: list[tuple[str, str]]) -> None:
    text = "\n".join(f"{escaped(key)}={escaped(value)}" for key, value in wanted)
    if text.startswith("\ufeff"):
        text = "\n" + text
    assert [(key, value) for key, value, _ in parse_properties(text)] == wanted


FILE = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL
num.network.threads=3
log.dirs=/var/lib/logs
log.retention.hours=168
#log.retention.bytes=1073741824
zookeeper.connect=localhost:2181
"""


def test_a_file_of_the_reference_works() -> None:
    static = load_static(FILE, settings=["num.partitions=4", "log.retention.hours = 1"])
    assert static.warnings == (
        "server.properties:13: zookeeper.connect is not a config of this broker",
    )
    config = BrokerConfig.resolve(static.layers)
    assert (config.node_id, config.num_partitions) == (1, 4)
    assert static.values["log.retention.hours"] == "1"


def test_problems_name_file_and_line() -> None:
    text = "num.partitions=x\nlog.segment.bytes=5\ntidelog.typo=1\nlog.dirs=/a\n"
    with pytest.raises(ConfigFileError) as error:
        load_static(text, file_name="a.properties", settings=["fetch.max.bytes=1"])
    assert [p.split(": ")[0] for p in error.value.problems] == [
        "a.properties:1",
        "a.properties:2",
        "a.properties:3",
        "--set",
    ]
    with pytest.raises(ConfigFileError, match=r"group\.min"):
        load_static("group.min.session.timeout.ms=99999999")


def test_a_later_line_wins_and_is_told() -> None:
    static = load_static("num.partitions=2\nnum.partitions=3\n")
    assert static.values == {"num.partitions": "3"}
    assert static.warnings == ("server.properties:2: num.partitions was already set in line 1",)


def test_a_later_setting_wins_and_is_told() -> None:
    settings = ["num.partitions=2", "num.partitions=3"]
    static = load_static("num.partitions=1", settings=settings)
    assert static.values == {"num.partitions": "3"}
    assert static.warnings == ("--set: num.partitions was already set by --set",)


def test_the_command_lines_own_values_lie_below() -> None:
    static = load_static("node.id=2", base={"node.id": "1", "log.dirs": "/a"})
    assert static.values == {"node.id": "2", "log.dirs": "/a"}


def test_settings() -> None:
    assert parse_setting("a=b=c") == ("a", "b=c")
    assert parse_setting("a=") == ("a", "")
    for bad in ("a", "=b", " = b"):
        with pytest.raises(ConfigFileError, match="--set"):
            parse_setting(bad)
