"""The grid of `taxi status` shows the status of each month, its rows, and the commands that load it again."""

import json
from dataclasses import replace
from itertools import product

import pytest
from rich.cells import cell_len

from taxi_assets.cli.status_view import print_status, print_status_json
from taxi_assets.instance.partition_status import MonthStatus, PartitionStatus
from taxi_assets.tlc.trips import COLORS, TripMonth
from taxi_assets_tests.cli.conftest import Terminal

LOADED = {"raw_trips": 1_370_000, "clean_trips": 1_369_765, "lake_trips": 1_369_765, "warehouse_trips": 1_369_765}


def _month(color: str, month: str, status: PartitionStatus, **more: object) -> MonthStatus:
    rows = more.get("rows", LOADED)
    assert isinstance(rows, dict)
    return MonthStatus(
        TripMonth(color, month), status, rows, "run", str(more.get("failed_at", "")), str(more.get("error", ""))
    )


MONTHS = [
    _month("fhv", "2021-01", PartitionStatus.partial, rows={"raw_trips": 7, "clean_trips": 7}),
    _month("yellow", "2020-12", PartitionStatus.loaded),
    _month("yellow", "2021-01", PartitionStatus.stale),
    _month("yellow", "2021-02", PartitionStatus.failed, failed_at="lake_trips", error="disk full\nmore"),
    _month("yellow", "2021-03", PartitionStatus.failed, rows={}),
]


def test_each_month_has_its_rows_and_status(capsys: pytest.CaptureFixture[str]) -> None:
    """A loaded month is only a number. Others have a status, and a failed month also the rows of an earlier run."""
    print_status(MONTHS, "materialize")
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0].split() == ["month", "yellow", "fhv"]
    grid = {line[:7]: line[7:].split() for line in lines[2:6]}
    assert grid == {
        "2020-12": ["1,369,765"],
        "2021-01": ["1,369,765", "stale", "partial"],
        "2021-02": ["1,369,765", "failed"],
        "2021-03": ["failed"],
    }
    assert len({line.index("1,369,765") for line in lines[2:5]}) == 1
    assert max(map(len, lines[:8])) < 80


def test_a_color_with_several_sources(capsys: pytest.CaptureFixture[str]) -> None:
    """A color whose months come from several sources has a line with the number of months of each."""
    sources = ["tlc", "mirror", "tlc", "", "/data/[1]"]
    months = [replace(MONTHS[1], month=TripMonth("green", f"2021-0{at + 1}")) for at in range(5)]
    mixed = [replace(month, source=source) for month, source in zip(months, sources, strict=True)]
    print_status([*mixed, *(replace(month, source="mirror") for month in MONTHS)], "materialize")
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if " from " in line] == ["green: 2 months from tlc, 1 from mirror, 1 from /data/[1]"]


def test_no_command_for_a_month_that_is_no_longer_a_partition(capsys: pytest.CaptureFixture[str]) -> None:
    """The commands leave out months that they would reject."""
    print_status([replace(MONTHS[2], is_partition=False), MONTHS[3]], "materialize")
    printed = capsys.readouterr().out
    assert "taxi materialize --color yellow --months 2021-02" in printed
    assert "--months 2021-01" not in printed


def test_totals_follow_the_grid(capsys: pytest.CaptureFixture[str]) -> None:
    """Below the grid are the total rows of each color and the number of months with each status."""
    print_status(MONTHS, "materialize")
    printed = capsys.readouterr().out
    assert [line.split() for line in printed.splitlines() if line.startswith("rows")] == [["rows", "4,109,295", "0"]]
    assert "5 months: 1 loaded, 1 stale, 1 partial, 2 failed" in printed


def test_unfinished_months_have_a_reason_and_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """A failure shows its step and the first line of its error. The months of a color and status are one command."""
    print_status(MONTHS, "materialize")
    printed = capsys.readouterr().out
    assert "yellow 2021-02 failed at lake_trips: disk full\n" in printed
    assert "fhv 2021-01 partial: only raw_trips, clean_trips" in printed
    assert "taxi materialize --color yellow --months 2021-02..2021-03 " in printed
    assert "taxi materialize --color yellow --months 2021-01 " in printed
    assert "taxi materialize --color fhv --months 2021-01 " in printed


def test_commands_in_a_deployment(capsys: pytest.CaptureFixture[str]) -> None:
    """In a deployment, the commands are `taxi backfill`, and no command runs months in this process."""
    print_status(MONTHS, "backfill")
    print_status([], "backfill")
    printed = capsys.readouterr().out
    assert "taxi backfill --color yellow --months 2021-02..2021-03 " in printed
    assert "taxi backfill --color green --months 2020-04" in printed
    assert "materialize" not in printed
    assert "demo" not in printed


def test_nothing_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    """Without any month, the output is the commands that load sample months and a real one."""
    print_status([], "materialize")
    printed = capsys.readouterr().out
    assert "taxi demo" in printed
    assert "taxi materialize --color green --months 2020-04" in printed


def test_loaded_months_need_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    """If every month is loaded, the totals are the last line."""
    print_status([MONTHS[1]], "materialize")
    assert capsys.readouterr().out.splitlines()[-1] == "1 month: 1 loaded"


CORRUPT = 'The file "{month}.csv.gz" is truncated: its gzip data has no end. Replace the file. [corrupt-file]'


def _years(*colors: str, years: range = range(2009, 2026)) -> list[MonthStatus]:
    """Months of many years: those of 2019 failed with the same error, and one has each other status."""
    statuses = {
        "2020-02": PartitionStatus.stale,
        "2020-03": PartitionStatus.partial,
        "2025-11": PartitionStatus.running,
        "2025-12": PartitionStatus.queued,
    }
    months = [f"{year}-{month:02d}" for year in years for month in range(1, 13)]
    return [
        _month(color, month, PartitionStatus.failed, failed_at="raw_trips", error=CORRUPT.format(month=month))
        if month.startswith("2019")
        else _month(color, month, statuses.get(month, PartitionStatus.loaded))
        for color in colors
        for month in months
        if month != "2025-10"
    ]


def test_a_reason_of_several_months_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The same error of many months is shown once with its months, and so are the months with the same assets."""
    few = {"raw_trips": 7}
    print_status(
        [
            *_years("fhv", "green", years=range(2019, 2020)),
            _month("yellow", "2019-01", PartitionStatus.failed, failed_at="raw_trips", error="disk full"),
            _month("yellow", "2019-02", PartitionStatus.partial, rows=few),
            _month("yellow", "2019-03", PartitionStatus.partial, rows=few),
        ],
        "materialize",
    )
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("To load them again:")
    assert lines[at - 4 : at] == [
        "27 months: 2 partial, 25 failed",
        f"  fhv,green 2019-01..2019-12 failed at raw_trips: {CORRUPT.format(month='2019-01')}",
        "  yellow 2019-01 failed at raw_trips: disk full",
        "  yellow 2019-02..2019-03 partial: only raw_trips",
    ]
    assert lines[at + 1].endswith("taxi materialize --color fhv,green --months 2019-01..2019-12   failed")
    assert lines[at + 2].endswith("taxi materialize --color yellow --months 2019-01   failed")


def test_only_the_first_of_many_reasons_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Of 12 different errors, the first 8 are listed, followed by the number of the others."""
    print_status(
        [
            _month("green", f"2020-{number:02d}", PartitionStatus.failed, error=f"cause {chr(96 + number)}")
            for number in range(1, 13)
        ],
        "materialize",
    )
    printed = capsys.readouterr().out
    assert printed.count("cause ") == 8
    assert "and 4 more reasons of failed months. To see all: taxi status --verbose" in printed
    assert "--months 2020-01..2020-12" in printed


def test_verbose_shows_each_month_and_its_whole_error(capsys: pytest.CaptureFixture[str]) -> None:
    """With `verbose`, many years have a row for each month, and each failed month has all lines of its error."""
    months = _years("green")
    months[0] = replace(months[0], status=PartitionStatus.failed, failed_at="lake_trips", error="first\nsecond")
    print_status(months, "materialize", verbose=True)
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert sum(line.startswith("20") and "months:" not in line for line in lines) == len(months)
    assert printed.count("[corrupt-file]") == 12
    at = lines.index("green 2009-01 failed at lake_trips:")
    assert [line.rstrip() for line in lines[at + 1 : at + 3]] == ["  first", "  second"]


@pytest.mark.parametrize(
    ("colors", "width"),
    [
        *product([("green",), ("yellow", "green"), COLORS[:3], COLORS], [80, 100, 140]),
        *product([("green",), ("yellow", "green"), COLORS[:3]], [60]),
    ],
)
def test_many_years_are_a_line_each(colors: tuple[str, ...], width: int, terminal: Terminal) -> None:
    """A year is a line with a letter for each month of each color and its rows. A legend explains the letters."""
    screen = terminal(width, 24)
    print_status(_years(*colors), "materialize")
    lines = [line.rstrip() for line in screen.getvalue().splitlines()]
    at = next(at for at, line in enumerate(lines) if line.startswith("To load"))
    assert max(map(cell_len, lines[:at])) <= width
    assert lines[0].split() == list(colors)
    assert "".join(lines[1].split()) == "year" + "JFMAMJJASOND" * len(colors) + "rows"
    years = {line[:4]: "".join(line[4:].rpartition(" ")[0].split()) for line in lines[3:20]}
    assert list(years) == [f"{year}" for year in range(2009, 2026)]
    assert years["2018"] == "++++++++++++" * len(colors)
    assert years["2019"] == "FFFFFFFFFFFF" * len(colors)
    assert years["2020"] == "+SP+++++++++" * len(colors)
    assert years["2025"] == "+++++++++.RQ" * len(colors)
    rows = next(line for line in lines if line.startswith("2018")).split()[-1]
    assert rows == f"{12 * 1_369_765 * len(colors):,}"
    total = 203 * 1_369_765
    assert next(line.split() for line in lines if line.startswith("rows")) == [
        "rows",
        *[f"{total:,}"] * len(colors),
        f"{total * len(colors):,}",
    ]
    legend = "+ loaded   S stale   P partial   F failed   R running   Q queued   . not loaded"
    assert legend.split() == " ".join(lines[22:24]).partition(f" {203 * len(colors)} months")[0].split()


def test_colors_that_do_not_fit_are_several_grids(terminal: Terminal) -> None:
    """On a terminal that is too narrow for all colors, two grids have two colors each, followed by one legend."""
    screen = terminal(60, 24)
    print_status(_years(*COLORS), "materialize")
    lines = [line.rstrip() for line in screen.getvalue().splitlines()]
    assert max(map(cell_len, lines[:22])) <= 60
    assert [line.split() for line in lines if line.split()[:1] in (["yellow"], ["fhv"])] == [
        ["yellow", "green"],
        ["fhv", "fhvhv"],
    ]
    assert sum(line.startswith("2018") for line in lines) == 2
    assert sum("+ loaded" in line for line in lines) == 1


def test_a_long_reason_is_cut_before_its_slug(terminal: Terminal) -> None:
    """On a terminal, a long reason is one line that ends with the slug. Its months are never cut."""
    screen = terminal(80, 24)
    print_status(_years("green", years=range(2019, 2020)), "materialize")
    lines = [line.rstrip() for line in screen.getvalue().splitlines()]
    at = lines.index("  green 2019-01..2019-12 failed at raw_trips:")
    assert lines[at + 1].startswith('    The file "2019-01.csv.gz" is truncated')
    assert lines[at + 1].endswith("\u2026 [corrupt-file]")
    assert len(lines[at + 1]) == 80


def test_letters_have_the_colors_of_their_status(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal with colors, a failed month is red, and a loaded month is green."""
    screen = terminal(100, 24)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm-256color")
    print_status(_years("green"), "materialize")
    assert "\x1b[1;31mF\x1b[0m" in screen.getvalue()
    assert "\x1b[32m+\x1b[0m" in screen.getvalue()


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has each month with its status, its rows by asset, run and source, and the step and error of a failure."""
    print_status_json([*MONTHS[:3], replace(MONTHS[3], source="tlc")])
    listed = json.loads(capsys.readouterr().out)
    assert [month["source"] for month in listed] == ["", "", "", "tlc"]
    assert listed[3] == {
        "color": "yellow",
        "month": "2021-02",
        "status": "failed",
        "standing": "failed",
        "rows": LOADED,
        "run": "run",
        "failed_at": "lake_trips",
        "error": "disk full\nmore",
        "source": "tlc",
    }


@pytest.mark.parametrize("status", PartitionStatus)
def test_json_has_the_status_in_the_words_of_the_previous_release(
    status: PartitionStatus, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside `status`, the deprecated `standing` has the previous release's word, so that scripts still work."""
    print_status_json([_month("green", "2020-01", status)])
    [listed] = json.loads(capsys.readouterr().out)
    assert listed["status"] == status
    assert listed["standing"] == {"partial": "partly", "queued": "waiting"}.get(status, status)
