"""The data dictionary: every table with its columns, and the files of the TLC in which each column occurs.

Not here: the types of columns in each store (`stores.column_types`), and how the dictionary is shown (`cli.schema`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from taxi_assets.tlc.eras import ERAS, Era, Span
from taxi_assets.tlc.marts import MARTS, ZONE_COLUMNS, ZONES_MEANING, ZONES_TABLE, Mart
from taxi_assets.tlc.schema import LAYOUTS, OURS, VENDOR_ID, VENDOR_NAME, Column, Layout
from taxi_assets.tlc.trips import trips_table


@dataclass(frozen=True)
class ColumnEntry:
    """A column of a table.

    `spans` are the months whose files have the column, by format. `names` are the names that it has in files of some
    periods, with the period. Both are empty for a column that no file has. `source` is where the meaning comes from.
    """

    column: Column
    source: str
    spans: tuple[Span, ...] = ()
    names: tuple[tuple[str, str], ...] = ()

    @property
    def first(self) -> str:
        """The first month whose file has the column, in any format; empty if no file has it."""
        return min((span.first for span in self.spans), default="")

    @property
    def last(self) -> str:
        """The last month whose file has the column; empty if the newest files have it, or no file."""
        return max((span.last for span in self.spans), default="") if all(span.last for span in self.spans) else ""


@dataclass(frozen=True)
class TableEntry:
    """A table: its name, its color (empty for a table of all colors), what it contains, and its columns.

    `rows` is the part of `meaning` that is the same for tables of all colors.
    """

    name: str
    color: str
    rows: str
    meaning: str
    columns: tuple[ColumnEntry, ...]


def tables() -> tuple[TableEntry, ...]:
    """Return all tables: the trips of each color, each mart for each color, and the taxi zones."""
    zones = _entries(ZONE_COLUMNS, "TLC taxi zone lookup table")
    return (
        *map(_trips, LAYOUTS.values()),
        *(_mart(mart, color) for mart in MARTS for color in LAYOUTS),
        TableEntry(ZONES_TABLE, "", ZONES_MEANING, ZONES_MEANING, zones),
    )


def group(entries: Iterable[TableEntry]) -> list[list[TableEntry]]:
    """Group the tables with the same columns, in order. Marts have the same columns for all colors."""
    groups: dict[tuple[ColumnEntry, ...], list[TableEntry]] = {}
    for entry in entries:
        groups.setdefault(entry.columns, []).append(entry)
    return list(groups.values())


def _trips(layout: Layout) -> TableEntry:
    columns = tuple(_describe(layout, column) for column in layout.table_columns)
    return TableEntry(trips_table(layout.color), layout.color, layout.table_meaning, layout.table_meaning, columns)


def _mart(mart: Mart, color: str) -> TableEntry:
    return TableEntry(mart.table(color), color, mart.rows, mart.meaning(color), _entries(mart.columns, OURS))


def _entries(columns: Iterable[Column], source: str) -> tuple[ColumnEntry, ...]:
    return tuple(ColumnEntry(column, column.source or source) for column in columns)


def _describe(layout: Layout, column: Column) -> ColumnEntry:
    eras = [era for era in ERAS if era.color == layout.color and not era.refused]
    found = [(era, name) for era in eras if (name := _name_in_files(era, column))]
    spans = _merge(span for era, _ in found for span in era.spans)
    names = tuple((name, era.period) for era, name in found if name.lower() != column.name.lower())
    return ColumnEntry(column, column.source or layout.dictionary, spans, names)


def _name_in_files(era: Era, column: Column) -> str:
    """Return the name of a column in the files of an era; empty if they do not have it."""
    for name in era.names:
        if era.renamed.get(name.lower(), name).lower() == column.name.lower():
            return name
    # The codes of vendors are those for their names.
    by_name = era.vendors and column.name == VENDOR_ID
    return next((n for n in era.names if era.renamed.get(n.lower(), n) == VENDOR_NAME), "") if by_name else ""


def _merge(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return spans in order, those of the same format merged if no month is between them."""
    merged: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.format, span.first)):
        last = merged[-1] if merged else None
        if last and last.format == span.format and (not last.last or _number(span.first) <= _number(last.last) + 1):
            ends = "" if not (last.last and span.last) else max(last.last, span.last)
            merged[-1] = Span(last.format, last.first, ends)
        else:
            merged.append(span)
    return tuple(merged)


def _number(month: str) -> int:
    """Return the number of a month (`YYYY-MM`), in which consecutive months follow each other."""
    return int(month[:4]) * 12 + int(month[5:])
