"""Convert a raw file into a file of clean rows, a file of rejected lines, and a report.

Dates outside the month, negative fares and implausible distances are valid data: they are counted and kept.
Not here: parsing (`parse`), the passenger rules (`rules`), and where files are stored.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, time
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_assets.errors import CountMismatch, EmptyFile, TooManyRejects
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

    `stray` counts pickups outside the month. `version` is the data version of the clean rows (see `versions`).
    """

    raw_rows: int = 0
    rows: int = 0
    stray: int = 0
    zero_passengers: int = 0
    nulls: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    version: str = ""

    @property
    def rejected_rows(self) -> int:
        """The number of rejected lines, for all reasons."""
        return self.rejected.total()

    @property
    def rejected_share(self) -> float:
        """The share of raw rows that were rejected, 0 to 1."""
        return self.rejected_rows / self.raw_rows if self.raw_rows else 0.0


def clean_month(month: TripMonth, raw: Path, clean: Path, rejected: Path, reject_limit: float) -> CleanReport:
    """Write the rows of `raw` that parse to `clean`, and any lines that do not parse to `rejected`.

    `clean` has the columns of `Layout.table_columns`, with rows in file order. Its footer stores the SHA-256 of `raw`
    and the data version of the rows. `rejected` has the columns `line`, `reason` and `text`. `reject_limit` is the
    share of rows, 0 to 1, that may be rejected. A separate thread counts the raw rows independently; the count must
    equal the rows of both files.

    Raises BadFile, BadHeader, TooManyRejects and CountMismatch. After an error, do not use either file.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="count-rows") as pool, RejectFile(rejected) as rejects:
        cleaning = _Cleaning(month, rejects, pool.submit(count_rows, raw), reject_limit)
        source = fingerprint(raw)
        cleaning.report.version = clean_version(source)
        cleaning.report.rows = write_row_groups(
            clean, LAYOUTS[month.color], cleaning.tables(raw), source, cleaning.report.version
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

    def __init__(self, month: TripMonth, rejects: RejectFile, raw_rows: "Future[int]", reject_limit: float) -> None:
        self.report = CleanReport()
        self._month = month
        self._layout = LAYOUTS[month.color]
        self._rejects = rejects
        self._raw_rows = raw_rows
        self._reject_limit = reject_limit
        self._first_reject: Reject | None = None

    def tables(self, raw: Path) -> "Iterator[pa.Table]":
        """Yield the clean rows of a raw file with `file_month`, one table for each block."""
        header, line, blocks = _split_header(raw, raw.name)
        parser = LineParser(self._layout, header)
        for text in blocks:
            yield self._count_rows(self._collect(parser.parse(text, line)))
            line += text.count(b"\n")

    def _collect(self, pieces: "Iterable[tuple[pa.Table, list[Reject]]]") -> "pa.Table":
        """Return the rows of a block as one table and save its rejects. Raises TooManyRejects."""
        import pyarrow as pa

        tables, rejected = [], []
        for rows, rejects in pieces:
            tables.append(rows)
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
        stray = compute.or_(
            compute.less(pickup, _midnight(month.first_day)), compute.greater_equal(pickup, _midnight(month.end))
        )
        report.stray += compute.sum(stray).as_py() or 0
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
        if report.rejected_share > self._reject_limit:
            reasons = "".join(f"\n  {count:,} x {reason}" for reason, count in report.rejected.most_common(_REASONS))
            raise TooManyRejects(
                f"{self._month} has too many rejected rows: at least {report.rejected_rows:,} of {report.raw_rows:,}. "
                f"The maximum share is {self._reject_limit}. Most common reasons:{reasons}\n"
                f"First rejected row: {self._first_reject}",
                **self._month.facts,
                raw_rows=report.raw_rows,
                rejected_rows=report.rejected_rows,
                rejected_share=report.rejected_share,
                reject_limit=self._reject_limit,
            )

    def finish(self) -> CleanReport:
        """Return the report after all tables are written. Raises CountMismatch."""
        report = self.report
        report.raw_rows = self._raw_rows.result()
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


_REASONS = 5
"""Maximum number of reasons in a message."""


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
