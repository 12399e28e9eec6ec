"""A profile as one HTML page that needs nothing else.

Pure: text comes out; whatever comes from outside is escaped, but for attachments, which this
program has drawn itself (results.Attachment).
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from statistics import median
from typing import Final

from tidelog.benchmarks.page import document, mapping_table, table, warning_list
from tidelog.benchmarks.svg import COLOURS, Line, log_plot, percentile_plot
from tidelog.profiling.results import Report, Section, Table
from tidelog.profiling.show import LEGEND, cell_text, column_title, table_title

_TITLE: Final = "A profile of this machine"


def page(report: Report) -> str:
    """The whole document."""
    names = ", ".join(section.title.lower() for section in report.sections)
    parts = [
        f"<h1>{escape(_TITLE)}: {escape(names)}</h1>",
        f"<p>tidelog profile, {escape(report.started_at)}. {escape(LEGEND)}</p>",
        warning_list([*report.warnings, *(w for s in report.sections for w in s.warnings)]),
    ]
    for section in report.sections:
        parts += section_parts(section)
    parts += [
        mapping_table("Settings", report.settings),
        mapping_table("Machine", report.machine),
        mapping_table("Versions", report.versions),
    ]
    return document(f"{_TITLE}: {names}", parts)


def section_parts(section: Section) -> Iterator[str]:
    yield f"<h2>{escape(section.title)}</h2>"
    yield f"<p>{escape(section.text)}</p>"
    if section.facts:
        facts = "; ".join(f"{name}: {value}" for name, value in section.facts.items())
        yield f"<p>{escape(facts)}</p>"
    if section.notes:
        yield "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in section.notes) + "</ul>"
    for one in section.tables:
        yield f"<h3>{escape(table_title(one).capitalize())}</h3>"
        yield f"<p>{escape(one.text)}</p>" if one.text else ""
        yield figures(one)
        yield drawn(one)
    curves = list(section.histograms.items())
    for start in range(0, len(curves), COLOURS):
        shown = [curve for curve in curves[start : start + COLOURS] if curve[1].count]
        names = "; ".join(name for name, _ in shown)
        plot = percentile_plot(shown, f"{section.title}: latencies")
        heading = f"<h3>Latencies, all rounds together: {escape(names)}</h3>\n"
        yield heading + plot if plot else ""
    for name, lines in section.text_blocks.items():
        text = escape("\n".join(lines))
        yield f'<h3>{escape(name)}</h3>\n<div class="scroll"><pre>{text}</pre></div>'
    for attachment in section.attachments:
        yield f'<h3>{escape(attachment.name)}</h3>\n<div class="scroll">{attachment.data}</div>'


def figures(one: Table) -> str:
    head = [one.key, *(column_title(one, column) for column in one.columns)]
    rows = [[row.name, *(cell_text(cell) for cell in row.cells)] for row in one.rows]
    return table(head, rows, numbers=range(1, len(head)))


def drawn(one: Table) -> str:
    """The columns that have the first one's unit, over the table's axis; "" without one."""
    if not one.axis or not one.columns:
        return ""
    lines = []
    for index, column in enumerate(one.columns):
        points = [
            (row.at, median(row.cells[index]))
            for row in one.rows
            if row.at is not None and row.cells[index]
        ]
        if column.unit == one.columns[0].unit:
            lines.append(Line(column.name, points))
    ticks = [(row.at, row.name) for row in one.rows if row.at is not None]
    return log_plot(lines, ticks, f"{one.key}; {one.columns[0].unit}", one.name)
