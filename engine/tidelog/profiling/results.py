"""What a profile has found, as values and as JSON: sections of tables, histograms and drawings.

A cell of a table holds the value of each round, so that everything that reads it (terminal, page,
comparison) can say how far the rounds lie apart. Whoever measures something more adds a `Section`.

Pure: reading and writing files is the caller's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tidelog.benchmarks.histogram import Histogram
from tidelog.benchmarks.results import PERCENTILES, Spread, check_format, spread_of

FORMAT: Final = "tidelog-profile"
VERSION: Final = 1
BETTER: Final = ("higher", "lower", "")
#: What an attachment may be. An "svg" is one <svg> element that needs nothing from elsewhere.
KINDS: Final = ("svg",)


@dataclass(frozen=True)
class Column:
    """better: "higher", "lower", or "" where a difference is neither."""

    name: str
    unit: str
    better: str = ""


@dataclass(frozen=True)
class Row:
    """cells: for each column the values of the rounds; an empty one was not measured. at: where
    the row stands on the table's axis."""

    name: str
    cells: Sequence[Sequence[float]]
    at: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "at": self.at, "cells": [list(cell) for cell in self.cells]}


@dataclass(frozen=True)
class Table:
    """key: what the rows are. axis: the unit of the rows' `at`, for which the columns that have
    the first one's unit are drawn; "": no plot. The names of rows are unique, those of columns too.
    """

    name: str
    key: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    text: str = ""
    axis: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "text": self.text,
            "key": self.key,
            "axis": self.axis,
            "columns": [vars(column) for column in self.columns],
            "rows": [row.to_json() for row in self.rows],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Table:
        table = cls(
            name=str(data["name"]),
            key=str(data["key"]),
            columns=[
                Column(str(c["name"]), str(c["unit"]), str(c["better"])) for c in data["columns"]
            ],
            rows=[
                Row(
                    str(row["name"]),
                    [[float(value) for value in cell] for cell in row["cells"]],
                    None if row["at"] is None else float(row["at"]),
                )
                for row in data["rows"]
            ],
            text=str(data["text"]),
            axis=str(data["axis"]),
        )
        table.check()
        return table

    def check(self) -> None:
        """Raises ValueError for a table that contradicts itself."""
        columns, rows = [c.name for c in self.columns], [row.name for row in self.rows]
        for names in (columns, rows):
            if len(set(names)) != len(names):
                raise ValueError(f"table {self.name} has a name twice")
        if any(column.better not in BETTER for column in self.columns):
            raise ValueError(f"table {self.name}: better is none of {BETTER}")
        for row in self.rows:
            if len(row.cells) != len(columns):
                raise ValueError(f"table {self.name}, {row.name}: cells for other columns")
            if not all(math.isfinite(value) for cell in row.cells for value in cell):
                raise ValueError(f"table {self.name}, {row.name}: not a number")
            if row.at is not None and not math.isfinite(row.at):
                raise ValueError(f"table {self.name}, {row.name}: not a number")


@dataclass(frozen=True)
class Attachment:
    """A drawing: kind of KINDS. Only what this program has drawn itself belongs here."""

    name: str
    kind: str
    data: str

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Attachment:
        found = cls(str(data["name"]), str(data["kind"]), str(data["data"]))
        if found.kind not in KINDS:
            raise ValueError(f"an attachment of kind {found.kind!r}")
        return found


@dataclass(frozen=True)
class Section:
    """One part of a profile ("disk", "network", "broker", ...).

    text: what was measured, in a sentence or two. facts: what it depends on (file system, peer).
    notes: what could not be measured, and why. warnings: why the figures may be wrong. text_blocks:
    lines for a terminal, such as a tree, by their title.
    """

    name: str
    title: str
    text: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    histograms: Mapping[str, Histogram] = field(default_factory=dict)
    text_blocks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    attachments: Sequence[Attachment] = ()
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "title": self.title,
            "text": self.text,
            "facts": dict(self.facts),
            "tables": [table.to_json() for table in self.tables],
            "histograms": {
                name: {
                    "percentiles_us": {
                        f"{percent:g}": histogram.percentile(percent) / 1e3
                        for percent in PERCENTILES
                    },
                    "histogram": histogram.to_json(),
                }
                for name, histogram in self.histograms.items()
            },
            "text_blocks": {name: list(lines) for name, lines in self.text_blocks.items()},
            "attachments": [vars(attachment) for attachment in self.attachments],
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Section:
        return cls(
            name=str(data["name"]),
            title=str(data["title"]),
            text=str(data["text"]),
            facts=dict(data["facts"]),
            tables=[Table.from_json(table) for table in data["tables"]],
            histograms={
                str(name): Histogram.from_json(one["histogram"])
                for name, one in data["histograms"].items()
            },
            text_blocks={
                str(name): [str(line) for line in lines]
                for name, lines in data["text_blocks"].items()
            },
            attachments=[Attachment.from_json(one) for one in data["attachments"]],
            notes=[str(text) for text in data["notes"]],
            warnings=[str(text) for text in data["warnings"]],
        )


@dataclass(frozen=True)
class Report:
    """A whole run of `tidelog profile`. warnings: of the run; each section has its own, too."""

    settings: Mapping[str, Any]
    sections: Sequence[Section]
    started_at: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "started_at": self.started_at,
            "settings": dict(self.settings),
            "versions": dict(self.versions),
            "machine": dict(self.machine),
            "warnings": list(self.warnings),
            "sections": [section.to_json() for section in self.sections],
        }

    @classmethod
    def from_json(cls, data: Any) -> Report:
        """Raises ValueError for what `to_json` did not write."""
        check_format(data, FORMAT, VERSION, "tidelog profile")
        try:
            report = cls(
                settings=dict(data["settings"]),
                sections=[Section.from_json(section) for section in data["sections"]],
                started_at=str(data["started_at"]),
                versions=dict(data["versions"]),
                machine=dict(data["machine"]),
                warnings=[str(text) for text in data["warnings"]],
            )
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"it is damaged: {type(error).__name__} {error}") from error
        names = [section.name for section in report.sections]
        if len(set(names)) != len(names):
            raise ValueError("it is damaged: a section stands there twice")
        return report


def cell_spread(cell: Sequence[float]) -> Spread | None:
    """Median and range of a cell's rounds; None where nothing was measured."""
    return spread_of(cell) if cell else None
