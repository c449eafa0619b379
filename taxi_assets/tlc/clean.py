"""Convert a raw file into a file of clean rows, a file of rejected lines, and a report.

Dates outside the month, negative fares and implausible distances are valid data: they are counted and kept.
Not here: parsing (`parse`), the passenger rules (`rules`), and where files are stored.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, time
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_assets.errors import CountMismatch, EmptyFile, NoValidRows, TooManyRejects, WrongMonth
from taxi_assets.tlc.parquet import write_row_groups
from taxi_assets.tlc.parse import LineParser
from taxi_assets.tlc.raw import count_rows, fingerprint, is_blank, read_blocks
from taxi_assets.tlc.rejects import Reject, RejectFile
from taxi_assets.tlc.schema import LAYOUTS
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
    """Write the rows of `raw` that parse to `clean`, and any lines that do not parse to `rejected`.

    `clean` has the columns of `Layout.table_columns`, with rows in file order. Its footer stores the SHA-256 of `raw`
    and the data version of the rows. `rejected` has the columns `line`, `reason` and `text`. A separate thread
    counts the raw rows independently; the count must equal the rows of both files.

    Raises BadFile, BadHeader, TooManyRejects, WrongMonth and CountMismatch. After an error, do not use either file.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="count-rows") as pool, RejectFile(rejected) as rejects:
        cleaning = _Cleaning(month, raw, rejects, pool.submit(count_rows, raw), limits)
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
    rows = count_rows(raw, name)
    header, _, _ = _split_header(raw, name)
    LineParser(LAYOUTS[month.color], header)
    if not rows:
        raise EmptyFile(
            f"The file {name} has a header but no rows. Expected the trips of a month.", **month.facts, address=name
        )
    return rows


class _Cleaning:
    """Cleans one month. The report is updated as the caller consumes `tables`."""

    def __init__(
        self, month: TripMonth, raw: Path, rejects: RejectFile, raw_rows: "Future[int]", limits: CleanLimits
    ) -> None:
        self.report = CleanReport()
        self._month = month
        self._layout = LAYOUTS[month.color]
        self._raw = raw
        header, self._first_line, self._blocks = _split_header(raw, raw.name)
        self._parser = LineParser(self._layout, header)
        self._rejects = rejects
        self._raw_rows = raw_rows
        self._limits = limits
        self._has_valid_rows = False
        self._first_reject: Reject | None = None

    def tables(self) -> "Iterator[pa.Table]":
        """Yield the clean rows of the raw file with `file_month`, one table for each block."""
        line = self._first_line
        for text in self._blocks:
            yield self._count_rows(self._collect(self._parser.parse(text, line)))
            self.report.recoded_rows = self._parser.recoded_rows
            line += text.count(b"\n")

    def _collect(self, pieces: "Iterable[tuple[pa.Table, list[Reject]]]") -> "pa.Table":
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
            zero = compute.equal(table.column(self._layout.passengers), 0)
            report.zero_passengers += compute.sum(zero).as_py() or 0
        return table.append_column("file_month", pa.repeat(pa.scalar(month.first_day, pa.date32()), table.num_rows))

    def _count_rejects(self, rejects: list[Reject]) -> None:
        """Count rejects. Raises TooManyRejects as soon as the limit is exceeded, because the count can only grow."""
        if not rejects:
            return
        report = self.report
        report.rejected.update(reject.reason for reject in rejects)
        self._first_reject = self._first_reject or rejects[0]
        report.raw_rows = self._raw_rows.result()
        if report.rejected_share > self._limits.rejected:
            reasons = "".join(f"\n  {count:,} x {reason}" for reason, count in report.rejected.most_common(_REASONS))
            # A higher limit helps only if there are other rows.
            kind = TooManyRejects if self._has_valid_rows or self._find_valid_row() else NoValidRows
            raise kind(
                f"{self._month} has too many rejected rows: at least {report.rejected_rows:,} of {report.raw_rows:,}. "
                f"The maximum share is {self._limits.rejected}. Most common reasons:{reasons}\n"
                f"First rejected row: {self._first_reject}{_explain_timestamp(self._first_reject)}",
                **self._month.facts,
                raw_rows=report.raw_rows,
                rejected_rows=report.rejected_rows,
                rejected_share=report.rejected_share,
                reject_limit=self._limits.rejected,
            )

    def _find_valid_row(self) -> bool:
        """Whether one of several lines in each part of the file is valid. All lines would take too long."""
        for text in read_blocks(self._raw):
            lines = text.split(b"\n")
            for line in lines[:: len(lines) // _PROBED + 1]:
                if any(rows.num_rows for rows, _ in self._parser.parse(line, 1)):
                    return True
        return False

    def finish(self) -> CleanReport:
        """Return the report after all tables are written. Raises CountMismatch and WrongMonth."""
        report = self.report
        report.raw_rows = self._raw_rows.result()
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

_PROBED = 50
"""Lines in each part of a file to parse alone."""

_SPREADSHEET_DATE = re.compile(
    r"""
    \d{1,2} [/.-] \d{1,2} [/.-] (\d{4}|\d{2}) (\ .*)?  # 4/1/2020 0:12, 01.04.20 00:12
    | \d{4} [/.] \d{1,2} [/.] \d{1,2} (\ .*)?         # 2020/4/1 0:12
    | \d{1,2} : \d{2} \. \d                          # 12:34.0, only minutes and seconds
    """,
    re.VERBOSE,
)
"""The forms in which spreadsheet programs save timestamps, depending on the language of the computer."""


def _explain_timestamp(reject: Reject) -> str:
    """Return the expected form of timestamps if that is why a row was rejected, and what the other form suggests."""
    if "timestamp" not in reject.reason:
        return ""
    fields = (field.strip(' "') for field in reject.text.split(","))
    found = next(filter(_SPREADSHEET_DATE.fullmatch, fields), None)
    suspected = f' A date such as "{found}" suggests that a spreadsheet program saved the file.' if found else ""
    return f'\nExpected timestamps such as "2020-04-01 00:12:00".{suspected}'


def _count_months(pickups: "pa.ChunkedArray") -> dict[int, int]:
    """Count timestamps by month, as `YYYYMM`."""
    from pyarrow import compute

    if not len(pickups):
        return {}
    months = compute.add(compute.multiply(compute.year(pickups), 100), compute.month(pickups))
    return {counted["values"]: counted["counts"] for counted in compute.value_counts(months).to_pylist()}


def _split_header(raw: Path, name: str) -> tuple[bytes, int, Iterator[bytes]]:
    """Return the first nonblank line of a raw file, the number of the next line, and the remaining blocks of lines.

    Raises EmptyFile if all lines are blank.
    """
    blocks = read_blocks(raw)
    number = 1
    for text in blocks:
        lines = BytesIO(text)
        for header in lines:
            number += 1
            if not is_blank(header):
                return header, number, chain([rest] if (rest := lines.read()) else [], blocks)
    raise EmptyFile(f"The file {name} has only blank lines. Expected a header and rows.", address=name)


def _midnight(day: date) -> "pa.Scalar":
    import pyarrow as pa

    return pa.scalar(datetime.combine(day, time()), pa.timestamp("us"))
