"""The page of a profile: whole, escaped, and without anything from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

from tests.unit.profiling.reports import report
from tidelog.profiling.page import drawn, page

VOID = {"meta", "br", "hr", "img", "link"}


class Checker(HTMLParser):
    """Every element is closed where it belongs."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_whole_page() -> None:
    text = page(report(warnings=["<noisy>"]))
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    for part in ("102 ±2%", "&lt;direct&gt;", "The &lt;disk&gt;.", "&lt;noisy&gt;", "it was busy"):
        assert part in text
    for part in ("<pre>a &lt;1&gt;\n  b</pre>", '<svg viewBox="0 0 1 1"></svg>', "fsync &amp; co"):
        assert part in text
    assert "<direct>" not in text
    assert not re.search(r"(src|href|url|@import)\s*[=(]", text)
    assert "<script" not in text


def test_plots_are_drawings() -> None:
    table, other = report().sections[0].tables
    root = ElementTree.fromstring(drawn(table))
    lines = [part for part in root.iter() if part.tag == "polyline"]
    assert [len(line.attrib["points"].split()) for line in lines] == [3, 2]
    assert "4 KiB" in drawn(table)
    assert drawn(other) == ""
