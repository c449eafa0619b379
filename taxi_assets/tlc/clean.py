"""Convert a raw file into a file of clean rows, a file of rejected lines, and a report.

Dates outside the month, negative fares and implausible distances are valid data: they are counted and kept.
Not here: parsing (`parse`), the passenger rules (`rules`), and where files are stored.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, time
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from taxi_assets.errors import (
    CountMismatch,
    EmptyFile,
    ManyInvalidRows,
    NoValidRows,
    TooManyRejects,
    WrongMonth,
    WrongTimestamps,
)
from taxi_assets.tlc.ahead import read_ahead
from taxi_assets.tlc.constants import constant
from taxi_assets.tlc.dialects import DELIMITERS
from taxi_assets.tlc.forms import explain_value, has_other_form
from taxi_assets.tlc.parquet import write_row_groups
from taxi_assets.tlc.parse import LineParser
from taxi_assets.tlc.published import SUFFIX as PARQUET
from taxi_assets.tlc.published import PublishedFile
from taxi_assets.tlc.raw import Block, count_rows, fingerprint, is_blank, measure, read_blocks
from taxi_assets.tlc.rejects import Reject, RejectFile, rejected_column
from taxi_assets.tlc.schema import LAYOUTS, Layout
from taxi_assets.tlc.trips import TripMonth
from taxi_assets.tlc.versions import clean_version

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class CleanReport:
    """The result of cleaning a month: row counts, `nulls` by column, and `rejected` by reason.

    `outside` counts pickups outside the month, by their month (`YYYYMM`). `recoded_rows` counts rows with text that is
    not UTF-8 and was decoded as Windows-1252. `version` is the data version of the clean rows (see `versions`).
    """

    raw_rows: int = 0
    rows: int = 0
    zero_passengers: int = 0
    nulls: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    outside: Counter[int] = field(default_factory=Counter)
    recoded_rows: int = 0
    version: str = ""

    @property
    def rejected_rows(self) -> int:
        """The number of rejected lines, for all reasons."""
        return self.rejected.total()

    @property
    def rejected_share(self) -> float:
        """The share of raw rows that were rejected, 0 to 1."""
        return self.rejected_rows / self.raw_rows if self.raw_rows else 0.0

    @property
    def outside_rows(self) -> int:
        """The number of rows with a pickup outside the month."""
        return self.outside.total()


@dataclass(frozen=True)
class CleanLimits:
    """The shares of rows, 0 to 1, above which a month fails: rejected rows, and pickups outside the month."""

    rejected: float = 0.01
    outside: float = 0.5


def clean_month(month: TripMonth, raw: Path, clean: Path, rejected: Path, limits: CleanLimits) -> CleanReport:
    """Write the valid rows of `raw`, a CSV or a Parquet file, to `clean`, and any others to `rejected`.

    `clean` has the columns of `Layout.file_columns`, with rows in file order. Its footer stores the SHA-256 of `raw`
    and the data version of the rows. `rejected` has the columns `line`, `reason` and `text`; for a Parquet file, `line`
    is the number of the row, and `text` has its values as JSON. The raw rows of a CSV are counted while it is read,
    before it is parsed, and those of a Parquet file in its footer; the count must equal the rows of both files.

    Raises BadFile, BadHeader, TooManyRejects, WrongMonth and CountMismatch. After an error, do not use either file.
    """
    with RejectFile(rejected) as rejects:
        cleaning = _Cleaning(month, _open_rows(LAYOUTS[month.color], raw), rejects, limits)
        source = fingerprint(raw)
        cleaning.report.version = clean_version(source)
        cleaning.report.rows = write_row_groups(
            clean, LAYOUTS[month.color], cleaning.tables(), source, cleaning.report.version
        )
        return cleaning.finish()


def inspect_raw(month: TripMonth, raw: Path, name: str) -> int:
    """Read a whole raw file, validate its header, and return the number of rows.

    `name` is the path or address of the file in messages. Raises BadHeader, and BadFile, also for a file without rows.
    """
    if PARQUET in raw.suffixes:
        published = PublishedFile(LAYOUTS[month.color], raw, name)
        published.require_readable()
        rows = published.rows
    else:
        rows = count_rows(raw, name)
        header, _, _ = _split_header(raw, name)
        LineParser(LAYOUTS[month.color], header)
    if not rows:
        raise EmptyFile(
            f"The file {name} has a header but no rows. Expected the trips of a month.", **month.facts, address=name
        )
    return rows


Pieces: TypeAlias = "Iterator[tuple[pa.Table, list[Reject]]]"
"""Pairs of valid rows and rejects, both in the order of the file."""


class _Rows(Protocol):
    """The rows of a raw file."""

    @property
    def recoded_rows(self) -> int:
        """The number of rows so far with text that was decoded as Windows-1252."""
        ...

    def count(self) -> int:
        """Count the rows before they are parsed. Until `blocks` has ended, that takes a pass over a CSV."""
        ...

    def blocks(self) -> Iterator[Pieces]:
        """Yield the pieces of each block of the file. A block becomes a row group."""
        ...

    def invalid_share(self) -> float:
        """Estimate the share of invalid rows from several rows in each part of the file. All would take too long."""
        ...

    def invalid_start(self) -> int:
        """Return the number of rows in a long first part of a file if none of those sampled in it is valid; else 0."""
        ...

    def rejected_value(self, reject: Reject) -> tuple[str, str]:
        """Return the column for whose value a row was rejected, and the value; two empty strings for another reason."""
        ...

    def explain(self, reject: Reject) -> str:
        """Return a line about the form of a rejected row; or "" if there is nothing to explain."""
        ...


class _CsvRows:
    """The rows of a CSV. Raises BadHeader and EmptyFile."""

    def __init__(self, layout: Layout, raw: Path) -> None:
        self._layout, self._raw = layout, raw
        header, self._first_line, self._blocks = _split_header(raw, raw.name)
        self._parser = LineParser(layout, header)
        self._records = 0
        self._has_ended = False

    @property
    def recoded_rows(self) -> int:
        return self._parser.recoded_rows

    def count(self) -> int:
        return self._records if self._has_ended else count_rows(self._raw)

    def blocks(self) -> Iterator[Pieces]:
        line = self._first_line
        for text, seen in read_ahead(self._count(self._blocks)):
            yield self._parser.parse(text, line, seen)
            line += seen.lines

    def _count(self, blocks: Iterator[Block]) -> Iterator[Block]:
        for block in blocks:
            self._records += block.seen.records
            yield block
        self._has_ended = True

    def invalid_share(self) -> float:
        rows = invalid_rows = 0.0
        for block, valid, invalid in self._samples():
            if valid + invalid:
                rows += block.seen.lines
                invalid_rows += block.seen.lines * invalid / (valid + invalid)
        return invalid_rows / rows if rows else 0.0

    def invalid_start(self) -> int:
        first, valid, _ = next(self._samples())
        return first.seen.records if not valid and first.seen.records >= _LONG_START else 0

    def _samples(self) -> Iterator[tuple[Block, int, int]]:
        """Yield each block with the number of valid and of invalid rows among some from all over it."""
        header, _, blocks = _split_header(self._raw, self._raw.name)
        parser = LineParser(self._layout, header)
        for block in blocks:
            lines = block.text.split(b"\n")
            pieces = list(parser.parse(b"\n".join(lines[:: len(lines) // _SAMPLED + 1]), 1))
            yield block, sum(rows.num_rows for rows, _ in pieces), sum(len(rejects) for _, rejects in pieces)

    def rejected_value(self, reject: Reject) -> tuple[str, str]:
        name, names = rejected_column(reject), self._parser.names
        fields: list[str] = []
        with suppress(csv.Error):
            fields.extend(*csv.reader([reject.text]))
        known = name in names and len(fields) == len(names)
        return (name, fields[names.index(name)]) if known else ("", "")

    def explain(self, reject: Reject) -> str:
        commas = len(self._parser.names) - 1
        delimiter = next((each for each in DELIMITERS if reject.text.count(each) == commas), "")
        return f"\nThe delimiter of the row seems to be {delimiter!r}. Expected commas." if delimiter else ""


class _ParquetRows:
    """The rows of a Parquet file. Raises the same errors as `PublishedFile`."""

    recoded_rows = 0

    def __init__(self, layout: Layout, raw: Path) -> None:
        self._file = PublishedFile(layout, raw)

    def count(self) -> int:
        return self._file.rows

    def blocks(self) -> Iterator[Pieces]:
        for batch in self._file.batches():
            yield iter([batch])

    def invalid_share(self) -> float:
        return self._file.invalid_share(_SAMPLED)

    def invalid_start(self) -> int:
        # The rows of a Parquet file are rejected all at once, so the whole file can decide.
        return 0

    def rejected_value(self, reject: Reject) -> tuple[str, str]:
        return self._file.rejected_value(reject)

    def explain(self, reject: Reject) -> str:  # noqa: ARG002  # as the rows of a CSV
        return ""


def _open_rows(layout: Layout, raw: Path) -> _Rows:
    return _ParquetRows(layout, raw) if PARQUET in raw.suffixes else _CsvRows(layout, raw)


class _Cleaning:
    """Cleans one month. The report is updated as the caller consumes `tables`."""

    def __init__(self, month: TripMonth, rows: _Rows, rejects: RejectFile, limits: CleanLimits) -> None:
        self.report = CleanReport()
        self._month = month
        self._layout = LAYOUTS[month.color]
        self._rows = rows
        self._rejects = rejects
        self._limits = limits
        self._has_valid_rows = False
        self._first_reject: Reject | None = None

    def tables(self) -> "Iterator[pa.Table]":
        """Yield the clean rows of the raw file with `file_month`, one table for each block."""
        for pieces in self._rows.blocks():
            yield self._count_rows(self._collect(pieces))
            self.report.recoded_rows = self._rows.recoded_rows

    def _collect(self, pieces: Pieces) -> "pa.Table":
        """Return the rows of a block as one table and save its rejects. Raises TooManyRejects."""
        import pyarrow as pa

        tables, rejected = [], []
        for rows, rejects in pieces:
            tables.append(rows)
            self._has_valid_rows = self._has_valid_rows or rows.num_rows > 0
            rejected.extend(rejects)
            self._count_rejects(rejects)
        self._rejects.write(rejected)
        return pa.concat_tables(tables)

    def _count_rows(self, table: "pa.Table") -> "pa.Table":
        import pyarrow as pa
        from pyarrow import compute

        report, month = self.report, self._month
        report.nulls.update({name: table.column(name).null_count for name in table.column_names})
        pickup = table.column(self._layout.pickup)
        outside = compute.or_(
            compute.less(pickup, _midnight(month.first_day)), compute.greater_equal(pickup, _midnight(month.end))
        )
        report.outside.update(_count_months(pickup.filter(outside)))
        if self._layout.passengers:
            zero = compute.equal(table.column(self._layout.passengers), constant(0, pa.int64()))
            report.zero_passengers += compute.sum(zero).as_py() or 0
        return table.append_column("file_month", pa.repeat(constant(month.first_day, pa.date32()), table.num_rows))

    def _count_rejects(self, rejects: list[Reject]) -> None:
        """Count rejects. Raises TooManyRejects as soon as the limit is exceeded, because the count can only grow."""
        if not rejects:
            return
        report = self.report
        report.rejected.update(reject.reason for reject in rejects)
        if not self._first_reject:
            self._first_reject = rejects[0]
            if self._limits.rejected < 1 and (start := self._rows.invalid_start()):
                raise self._no_valid_rows(self._first_reject, start)
        report.raw_rows = report.raw_rows or self._rows.count()
        if report.rejected_share > self._limits.rejected:
            raise self._too_many_rejects(self._first_reject)

    def _no_valid_rows(self, first: Reject, start: int) -> TooManyRejects:
        """Return the error of a file whose first `start` rows seem to be invalid, which decides before it is read."""
        value, explained = self._explain(first)
        return (WrongTimestamps if _has_other_clock(first.reason, value) else NoValidRows)(
            f"{self._month} has too many rejected rows: of the first {start:,}, no row that was tried is valid. "
            f"The maximum share is {self._limits.rejected}.\nFirst rejected row: {first}{explained}",
            **self._month.facts,
            reject_limit=self._limits.rejected,
        )

    def _too_many_rejects(self, first: Reject) -> TooManyRejects:
        """Return the error of a file with too many rejects. It offers a higher limit only if few rows are invalid."""
        report, limit = self.report, self._limits.rejected
        share = self._rows.invalid_share()
        reasons = report.rejected.most_common(_REASONS)
        listed = "".join(f"\n  {count:,} x {reason}" for reason, count in reasons)
        is_partial = share > _FEW and report.rejected_rows < report.raw_rows
        estimated = f"\nA sample suggests that {share:.0%} of the rows are invalid." if is_partial else ""
        value, explained = self._explain(first)
        if share <= _FEW:
            kind = TooManyRejects
        elif _has_other_clock(reasons[0][0], value):
            kind = WrongTimestamps
        else:
            kind = ManyInvalidRows if share < 1 or self._has_valid_rows else NoValidRows
        return kind(
            f"{self._month} has too many rejected rows: at least {report.rejected_rows:,} of {report.raw_rows:,}. "
            f"The maximum share is {limit}. Most common reasons:{listed}{estimated}\n"
            f"First rejected row: {first}{explained}",
            **self._month.facts,
            raw_rows=report.raw_rows,
            rejected_rows=report.rejected_rows,
            rejected_share=report.rejected_share,
            reject_limit=limit,
        )

    def _explain(self, first: Reject) -> tuple[str, str]:
        """Return the value for which a row was rejected, and a line about its form, or that of the row."""
        name, value = self._rows.rejected_value(first)
        return value, _explain(name, value, self._layout) or self._rows.explain(first)

    def finish(self) -> CleanReport:
        """Return the report after all tables are written. Raises CountMismatch and WrongMonth."""
        report = self.report
        report.raw_rows = self._rows.count()
        self._require_own_month()
        if report.raw_rows != report.rows + report.rejected_rows:
            raise CountMismatch(
                f"{self._month} has {report.raw_rows:,} raw rows, but {report.rows:,} clean rows and "
                f"{report.rejected_rows:,} rejected rows. Expected these to add up to the number of raw rows.",
                **self._month.facts,
                raw_rows=report.raw_rows,
                clean_rows=report.rows,
                rejected_rows=report.rejected_rows,
            )
        return report

    def _require_own_month(self) -> None:
        """Raise WrongMonth if too many pickups are outside the month."""
        report = self.report
        share = report.outside_rows / report.rows if report.rows else 0.0
        if share > self._limits.outside:
            year, number = divmod(report.outside.most_common(1)[0][0], 100)
            seen = f"{year:04d}-{number:02d}"
            raise WrongMonth(
                f"The file of {self._month} seems to contain another month: {report.outside_rows:,} of {report.rows:,} "
                f"pickups are outside {self._month.month}, most often in {seen}. The maximum share is "
                f"{self._limits.outside}.",
                **self._month.facts,
                seen=seen,
                outside_rows=report.outside_rows,
                outside_share=share,
                outside_limit=self._limits.outside,
            )


_REASONS = 5
"""Maximum number of reasons in a message."""

_SAMPLED = 50
"""Rows in each part of a file to examine."""

_LONG_START = 10_000
"""Rows in the first part of a file from which its samples decide about the file."""

_FEW = 0.05
"""The share of invalid rows up to which a month without them may be useful."""


def _has_other_clock(reason: str, value: str) -> bool:
    """Whether a reason is about timestamps, and the value is one in another form."""
    return reason.endswith(" is not a timestamp") and has_other_form(value)


def _explain(name: str, value: str, layout: Layout) -> str:
    """Return a line about the form of a rejected value of a column; or "" if there is nothing to explain."""
    if not name:
        return ""
    kind = next(column.kind for column in layout.columns if column.name == name)
    explained = explain_value(kind, value)
    return f"\n{explained}" if explained else ""


def _count_months(pickups: "pa.ChunkedArray") -> dict[int, int]:
    """Count timestamps by month, as `YYYYMM`."""
    import pyarrow as pa
    from pyarrow import compute

    if not len(pickups):
        return {}
    months = compute.add(compute.multiply(compute.year(pickups), constant(100, pa.int64())), compute.month(pickups))
    return {counted["values"]: counted["counts"] for counted in compute.value_counts(months).to_pylist()}


def _split_header(raw: Path, name: str) -> tuple[bytes, int, Iterator[Block]]:
    """Return the first nonblank line of a raw file, the number of the next line, and the remaining blocks of lines.

    Raises EmptyFile if all lines are blank.
    """
    blocks = read_blocks(raw)
    number = 1
    for text, _ in blocks:
        lines = BytesIO(text)
        for header in lines:
            number += 1
            if not is_blank(header):
                rest = lines.read()
                return header, number, chain([Block(rest, measure(rest))] if rest else [], blocks)
    raise EmptyFile(f"The file {name} has only blank lines. Expected a header and rows.", address=name)


def _midnight(day: date) -> "pa.Scalar":
    import pyarrow as pa

    return constant(datetime.combine(day, time()), pa.timestamp("us"))
