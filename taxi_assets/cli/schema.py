"""`taxi schema`: the data dictionary, as tables or as JSON."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from taxi_assets.cli.options import optional_colors_option

if TYPE_CHECKING:
    from taxi_assets.tlc.dictionary import ColumnEntry, TableEntry


@click.command()
@optional_colors_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object with all tables and columns.")
def schema(colors: tuple[str, ...], *, as_json: bool) -> None:
    """Show the columns of every table, with types and meanings.

    There are also units, codes, and the files that have a column. Nothing needs to be loaded. The types are those of
    DuckDB, and "files" are the first and the last month whose file has the column. With --json, there are also the
    types of Postgres, BigQuery and Parquet, the months by format, the names in older files, and the source of each
    meaning.

    Databases show the same texts as comments on tables and columns. docs/data-dictionary.md has all of this on a page.

    \b
    Examples:
      taxi schema --color green
      taxi schema --json
    """
    from taxi_assets.tlc.dictionary import tables

    shown = [table for table in tables() if not colors or table.color in colors]
    if as_json:
        print(json.dumps({"tables": [_table_json(table) for table in shown]}, indent=1, ensure_ascii=False))
    else:
        _print_tables(shown)


def _table_json(table: "TableEntry") -> dict[str, Any]:
    return {
        "name": table.name,
        "color": table.color or None,
        "meaning": table.meaning,
        "columns": [_column_json(entry) for entry in table.columns],
    }


def _column_json(entry: "ColumnEntry") -> dict[str, Any]:
    from taxi_assets.stores.column_types import STORE_TYPES

    column = entry.column
    return {
        "name": column.name,
        "postgres_name": column.name.lower(),
        "types": {store: types[column.kind] for store, types in STORE_TYPES.items()},
        "unit": column.unit or None,
        "meaning": column.meaning,
        "codes": {str(code): text for code, text in column.codes.items()},
        "first_month": entry.first or None,
        "last_month": entry.last or None,  # also null if the newest files have the column
        "files": [
            {"format": span.format, "first_month": span.first, "last_month": span.last or None} for span in entry.spans
        ],
        "other_names": [{"name": name, "files": period} for name, period in entry.names],
        "source": entry.source,
    }


def _print_tables(tables: Sequence["TableEntry"]) -> None:
    """Print a heading and a row for each column of each table. Tables with the same columns are shown once."""
    from rich.text import Text

    from taxi_assets.cli.tables import open_console, plain_table
    from taxi_assets.stores.column_types import STORE_TYPES
    from taxi_assets.tlc.dictionary import group

    console = open_console()
    for number, same in enumerate(group(tables)):
        if number:
            console.print()
        console.print(Text(", ".join(table.name for table in same), style="bold"))
        console.print(Text(same[0].meaning if len(same) == 1 else same[0].rows))
        shown = plain_table("column", "type", "unit", "files", "meaning")
        for entry in same[0].columns:
            column = entry.column
            kind = STORE_TYPES["duckdb"][column.kind]
            shown.add_row(column.name, kind, column.unit, _months(entry), Text(column.meaning))
        console.print(shown)


def _months(entry: "ColumnEntry") -> str:
    return f"{entry.first} to {entry.last or 'now'}" if entry.first else ""
