"""Data versions change with the input, with the rules, and with code that changes the output."""

import gzip
from collections.abc import Callable, Iterable
from datetime import date, datetime
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taxi_assets.tlc import versions
from taxi_assets.tlc.clean import CleanLimits, clean_month
from taxi_assets.tlc.eras import CSV_ERAS
from taxi_assets.tlc.parquet import Footer
from taxi_assets.tlc.rules import MissingPassengers, ZeroPassengers, drop_zero_passengers, fill_missing_passengers
from taxi_assets.tlc.schema import LAYOUTS, Kind, Layout
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets.tlc.versions import (
    CODE_VERSIONS,
    EARLIER_CODE_VERSIONS,
    clean_version,
    code_of_clean,
    lake_version,
    postgres_version,
    warehouse_version,
)
from taxi_assets_tests.tlc.era_files import PARQUETS, write_parquet

RECORDED: dict[str, tuple[str, dict[str, str]]] = {
    "clean_trips": (
        "2",
        {
            "yellow": "04bfe8a54f603ee2",
            "green": "d997f3ec10a447d4",
            "fhv": "dadccc34694a2667",
            "fhvhv": "ff27b565a59fc76c",
        },
    ),
    "clean_trips from Parquet": (
        "2",
        {
            "yellow": "bb8ddda28d261b33",
            "green": "88375d97c1a3acee",
            "fhv": "4457ce9758bee0f2",
            "fhvhv": "01f14fcf6ec1d15a",
        },
    ),
    "lake_trips": (
        "1",
        {
            "yellow": "2ec0e287b0e87788",
            "green": "5f92818d3d0fa262",
            "fhv": "605d92e79206b155",
            "fhvhv": "58df5b1e93e38dfb",
        },
    ),
    "postgres_trips": (
        "1",
        {
            "yellow": "1783955d96aa27ea",
            "green": "e257a27d8f144d66",
            "fhv": "605d92e79206b155",
            "fhvhv": "58df5b1e93e38dfb",
        },
    ),
}
"""The recorded code version of each asset, and the fingerprint of its output for the sample of each color."""

VALUES = {
    Kind.integer: ["1", "0", "", "2.0", "-3", "265", "NULL"],
    Kind.decimal: ["0.5", "-2.75", "", "12", "1e3", "N/A"],
    Kind.text: ["N", "", '"a, b"', " Y", "café", "\\N"],
    Kind.timestamp: ["2021-03-01 00:00:00", "2021-03-31 23:59:59", "", "2009-01-01 00:00:00", "2021-04-01 00:00:00"],
}
"""Values of the sample as text, by kind."""

TYPED: dict[Kind, list[Any]] = {
    Kind.integer: [1, 0, None, 2, -3],
    Kind.decimal: [0.5, -2.75, None],
    Kind.text: ["N", None, "a, b"],
    Kind.timestamp: [datetime(2021, 3, 1, 12), None, datetime(2009, 1, 1)],  # noqa: DTZ001  # TLC times have no time zone
    Kind.date: [date(2021, 3, 1)],
}
"""Values of clean rows, by kind."""

ROWS = 60


def _sample(layout: Layout) -> bytes:
    """Return a raw month with values of all kinds, missing values, two encodings, blank lines and invalid lines."""
    names = CSV_ERAS[layout.color].names
    kinds = [column.kind for column in layout.columns if column.name in names]
    rows = [
        ",".join(VALUES[kind][(row + at) % len(VALUES[kind])] for at, kind in enumerate(kinds)) for row in range(ROWS)
    ]
    plain = ",".join("" for _ in kinds)
    blank = ["", plain, f"{plain},", ",".join('""' for _ in kinds)]
    broken = ["not,a,trip", f"{rows[0]},", ",".join("x" for _ in kinds), f'"{plain}', f"\0{plain}", f"\ufeff{plain}"]
    header = ",".join(f" {name.upper()} " if at % 2 else f'"{name}"' for at, name in enumerate(names))
    lines = [header, *rows[: ROWS // 2], *blank, *broken, *rows[ROWS // 2 :]]
    text = [column.name for column in layout.columns if column.kind is Kind.text]
    encoded = [_row(layout, {text[0]: written}) for written in (b"caf\xe9", b"\x81")]
    return b"\r\n".join([*(line.encode() for line in lines), *encoded, b""])


def _row(layout: Layout, values: dict[str, bytes]) -> bytes:
    """Return a row that has these values and a pickup time, and no others."""
    written = {layout.pickup: b"2021-03-01 00:00:00"} | values
    return b",".join(written.get(name, b"") for name in CSV_ERAS[layout.color].names)


def _fingerprint(tables: Iterable[pa.Table]) -> str:
    """Return a hash of names, types and values that does not depend on the file format."""
    content = [
        [
            (name, str(table.schema.field(name).type), repr(table.column(name).to_pylist()))
            for name in table.column_names
        ]
        for table in tables
    ]
    return sha256(repr(content).encode()).hexdigest()[:16]


def _clean(layout: Layout, folder: Path) -> list[pa.Table]:
    """Return the clean rows of the sample, in the columns of the first release, and its rejected lines."""
    raw, clean, rejected = (folder / name for name in ("raw.csv.gz", "clean.parquet", "rejected.parquet"))
    raw.write_bytes(gzip.compress(_sample(layout)))
    report = clean_month(TripMonth(layout.color, "2021-03"), raw, clean, rejected, CleanLimits(rejected=1))
    without_pickup = ROWS // len(VALUES[Kind.timestamp])
    assert (report.raw_rows, report.rejected_rows) == (ROWS + 8, without_pickup + 7)
    assert report.recoded_rows == 1
    # The reason is text for people, so its wording may change.
    rows, rejects = pq.read_table(clean), pq.read_table(rejected).select(["line", "text"])
    later = [column.name for column in layout.columns if column.is_later]
    assert all(rows[name].null_count == len(rows) for name in later)
    return [rows.drop_columns(later), rejects]


def _clean_parquet(layout: Layout, folder: Path) -> list[pa.Table]:
    """Return the clean rows of the color's first Parquet file."""
    raw, clean = folder / "raw.parquet", folder / "clean.parquet"
    era = next(era for era in PARQUETS if era.color == layout.color)
    write_parquet(era, raw)
    clean_month(era.trip_month, raw, clean, folder / "rejected.parquet", CleanLimits(rejected=0, outside=1))
    return [pq.read_table(clean)]


def _typed(layout: Layout) -> pa.Table:
    """Return clean rows that do not depend on the cleaning, in the columns of the first release: they stay the same."""
    first = [column for column in layout.table_columns if not column.is_later]
    columns = {
        column.name: [TYPED[column.kind][(row + at) % len(TYPED[column.kind])] for row in range(ROWS)]
        for at, column in enumerate(first)
    }
    return pa.table(columns, pa.schema([layout.arrow_schema().field(column.name) for column in first]))


OUTPUTS: dict[str, Callable[[Layout, Path], list[pa.Table]]] = {
    "clean_trips": _clean,
    "clean_trips from Parquet": _clean_parquet,
    "lake_trips": lambda layout, _: [
        fill_missing_passengers(_typed(layout), layout, rule) for rule in MissingPassengers
    ],
    "postgres_trips": lambda layout, _: [drop_zero_passengers(_typed(layout), layout, rule) for rule in ZeroPassengers],
}
"""The output of each asset for the sample, with each value of its rule. The first word is the asset."""


@pytest.mark.parametrize(("name", "color"), list(product(RECORDED, COLORS)))
def test_changed_output_needs_a_new_code_version(name: str, color: str, tmp_path: Path) -> None:
    """The output for a fixed sample is the recorded output of the current code version."""
    recorded, fingerprints = RECORDED[name]
    asset = name.partition(" ")[0]
    output, version = _fingerprint(OUTPUTS[name](LAYOUTS[color], tmp_path)), CODE_VERSIONS[asset]
    if version != recorded:
        pytest.fail(
            f"CODE_VERSIONS[{asset!r}] is {version!r}, but {recorded!r} is recorded. Record the version in RECORDED, "
            f"with {output!r} as the fingerprint of {color}."
        )
    if output != fingerprints.get(color):
        pytest.fail(
            f"{asset} produces other rows, columns or values for the same {color} month than version {recorded!r}. "
            f"If this is intended, increase CODE_VERSIONS[{asset!r}] in taxi_assets/tlc/versions.py, so that months "
            f"from the old code become stale. Then record the new version in RECORDED, with {output!r} as the "
            f"fingerprint of {color}. If only the color is new, record its fingerprint."
        )


@pytest.mark.parametrize("code", ["1", "2", "another", ""])
def test_code_version_of_a_clean_file(code: str) -> None:
    """The code version of a clean file follows from its footer. Files of the first release have no version in it."""
    source = "a" * 64
    footer = Footer(7, source, clean_version(source, code) if code else "", ())
    assert code_of_clean(footer) == {"another": "", "": "1"}.get(code, code)
    other = Footer(7, "b" * 64, footer.version, ())
    assert code_of_clean(other) == ("" if code else "1")


def test_every_earlier_code_version_is_known() -> None:
    """Clean files of all earlier code versions are recognized."""
    current = int(CODE_VERSIONS["clean_trips"])
    assert [*EARLIER_CODE_VERSIONS] == [str(code) for code in range(1, current)]


def test_fingerprint_depends_only_on_content() -> None:
    """Names, types, values and their order matter. Chunks in memory do not."""
    table = pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]})
    same = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    others = [
        table.rename_columns(["a", "c"]),
        table.select(["b", "a"]),
        table.set_column(0, "a", pa.array([1.0, 2.0, 3.0])),
        table.set_column(0, "a", pa.array([1, 2, 4])),
        table.take([0, 2, 1]),
        table.slice(1),
        table.slice(0, 0),
    ]
    assert _fingerprint([same]) == _fingerprint([table])
    assert len({_fingerprint([other]) for other in (table, *others)}) == 1 + len(others)


def test_every_asset_that_changes_rows_is_recorded() -> None:
    """Assets that only copy rows have no fingerprint: the raw file and the warehouse."""
    assert set(RECORDED) == set(OUTPUTS)
    assert {name.partition(" ")[0] for name in RECORDED} == set(CODE_VERSIONS) - {"raw_trips", "warehouse_trips"}


RULES = tuple(product(MissingPassengers, ZeroPassengers))


def _chain(color: str, raw: str, missing: MissingPassengers, zero: ZeroPassengers) -> dict[str, str]:
    """Return the versions of a month, derived from its raw file."""
    layout, clean = LAYOUTS[color], clean_version(raw)
    lake = lake_version(clean, layout, missing)
    return {
        "clean_trips": clean,
        "lake_trips": lake,
        "warehouse_trips": warehouse_version(lake),
        "postgres_trips": postgres_version(clean, layout, zero),
    }


@pytest.mark.parametrize("color", COLORS)
def test_versions_are_deterministic(color: str) -> None:
    """The same input and rules have the same versions, which are short and differ by asset."""
    first, again = (_chain(color, "a" * 64, MissingPassengers.zero, ZeroPassengers.drop) for _ in range(2))
    assert first == again
    assert len(set(first.values())) == len(first)
    assert {len(version) for version in first.values()} == {16}


@pytest.mark.parametrize("color", COLORS)
def test_another_raw_file_changes_all_versions(color: str) -> None:
    """Another raw file changes the version of every downstream asset."""
    one, other = (_chain(color, raw, MissingPassengers.zero, ZeroPassengers.drop) for raw in ("a" * 64, "b" * 64))
    assert not set(one.values()) & set(other.values())


@pytest.mark.parametrize("color", COLORS)
def test_rules_change_the_versions_of_affected_assets(color: str) -> None:
    """The lake rule changes the lake and the warehouse, the Postgres rule Postgres. Both apply only to passengers."""
    chains = {rules: _chain(color, "a" * 64, *rules) for rules in RULES}
    distinct = {name: len({chain[name] for chain in chains.values()}) for name in chains[RULES[0]]}
    affected = 2 if LAYOUTS[color].passengers else 1
    assert distinct == {
        "clean_trips": 1,
        "lake_trips": affected,
        "warehouse_trips": affected,
        "postgres_trips": affected,
    }


@pytest.mark.parametrize(
    ("asset", "changed"),
    [
        ("raw_trips", set()),
        ("clean_trips", {"clean_trips", "lake_trips", "warehouse_trips", "postgres_trips"}),
        ("lake_trips", {"lake_trips", "warehouse_trips"}),
        ("warehouse_trips", {"warehouse_trips"}),
        ("postgres_trips", {"postgres_trips"}),
    ],
)
def test_code_version_changes_downstream_versions(
    asset: str, changed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new code version of an asset changes its version and those of its downstream assets."""
    before = _chain("green", "a" * 64, MissingPassengers.zero, ZeroPassengers.drop)
    monkeypatch.setattr(versions, "CODE_VERSIONS", {**CODE_VERSIONS, asset: "another"})
    after = _chain("green", "a" * 64, MissingPassengers.zero, ZeroPassengers.drop)
    assert {name for name in before if before[name] != after[name]} == changed
