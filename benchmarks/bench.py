"""Time taxi_assets next to what a user would run instead, on the same files. Run by `make bench`.

Each contender is a whole process. Rounds run all of them in turn; the first round is not timed, but measures memory.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from contenders import Contender, Size, file_contenders, postgres_contenders
from memory import PeakMemory
from pipelines import environment, month_contenders, month_range, pipeline_contenders, start_contenders
from place import Place
from results import Result, Results
from samples import postgres_server, prepare, prepare_months

HERE = Path(__file__).parent
WORK = HERE.parent / "build" / "bench"
ROWS = {Size.small: 100_000, Size.month: 1_400_000, Size.large: 14_000_000}
REPETITIONS = 3
MONTHS, FEW_MONTHS = 24, 2
_ERROR_BYTES = 2000


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100,000 rows, one run each, without what takes minutes")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these contenders; --list shows their names")
    parser.add_argument("--repeat", type=int, metavar="N", help=f"timed runs of each contender; default: {REPETITIONS}")
    parser.add_argument(
        "--rows",
        metavar="N[,N]",
        type=_rows,
        help="rows of the month, and of the large month; default: 1400000,14000000, and a small month of 100000",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures as JSON")
    parser.add_argument(
        "--results", type=Path, metavar="FILE", help="write a page of results, with a chart; default for a full run"
    )
    parser.add_argument(
        "--work", type=Path, default=WORK, metavar="DIR", help="folder for files; samples in it are used again"
    )
    parser.add_argument("--list", action="store_true", help="list the contenders, and run nothing")
    return parser.parse_args()


def _rows(text: str) -> dict[Size, int]:
    numbers = [int(number) for number in text.replace("_", "").split(",")]
    return dict(zip((Size.month, Size.large), numbers, strict=False))


def _show(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    """Run the contenders and show the results."""
    arguments = _arguments()
    rows = arguments.rows or ({Size.month: ROWS[Size.small]} if arguments.quick else ROWS)
    months = FEW_MONTHS if arguments.quick else MONTHS
    wanted = _wanted(arguments.only, months, quick=arguments.quick)
    if arguments.list:
        for contender in wanted:
            _show(f"{contender.name:22}{contender.title}")
        return
    _show(f"Comparing {len(wanted)} contenders")
    repetitions = arguments.repeat or (0 if arguments.quick else REPETITIONS)
    is_full = not (arguments.quick or arguments.only or arguments.rows)
    page = arguments.results or (HERE / "RESULTS.md" if is_full else None)
    results = Results(_measure(wanted, rows, months, repetitions, arguments.work.absolute()))
    _show(results.text())
    if arguments.json:
        arguments.json.write_text(results.json())
    if page:
        chart = page.with_suffix(".png")
        results.write_chart(chart)
        page.write_text(results.markdown(chart if chart.exists() else None))
        _show(f"\nThe results are in {page}")


def _wanted(only: Sequence[str] | None, months: int, *, quick: bool) -> list[Contender]:
    every = [
        *file_contenders(),
        *postgres_contenders(),
        *pipeline_contenders(),
        *month_contenders(months),
        *start_contenders(),
    ]
    if unknown := set(only or ()) - {contender.name for contender in every}:
        sys.exit(f"Unknown contenders: {', '.join(sorted(unknown))}. To list all: python benchmarks/bench.py --list")
    chosen = [contender for contender in every if not only or contender.name in only]
    return [contender for contender in chosen if only or not (quick and contender.once)]


def _measure(
    wanted: Sequence[Contender], rows: Mapping[Size, int], months: int, repetitions: int, work: Path
) -> list[Result]:
    """Run all contenders on the months of all sizes. Deletes everything in `work` but the samples at the end."""
    work.mkdir(parents=True, exist_ok=True)
    results = []
    try:
        needs_all = any(contender.needs_postgres for contender in wanted)
        with postgres_server(work) if needs_all else nullcontext("") as url:
            if needs_all:
                prepare_months(work, month_range(months), _show)
            for size, number in rows.items():
                chosen = [contender for contender in wanted if size in contender.sizes]
                if chosen:
                    place = prepare(work, number, url, _show)
                    results += _measure_size(chosen, place, size, repetitions)
    finally:
        for leftover in work.iterdir():
            if leftover.name != "samples":
                shutil.rmtree(leftover, ignore_errors=True)
    return results


def _measure_size(chosen: Sequence[Contender], place: Place, size: Size, repetitions: int) -> list[Result]:
    results = [Result(contender, size, place.rows, failure=contender.why_skipped()) for contender in chosen]
    for result in results:
        if result.failure:
            _show(f"{result.contender.name} is skipped: {result.failure}")
    runs = list(_schedule(results, 0 if size is Size.large else repetitions))
    for number, (result, is_timed, samples) in enumerate(runs, start=1):
        if not result.failure:
            _run(result, place, is_timed=is_timed, samples=samples)
            outcome = result.failure or (f"{result.seconds[-1]:.2f} s" if result.seconds and is_timed else "done")
            kind = "" if is_timed else " (first run)"
            _show(f"[{number}/{len(runs)}] {size}, {place.rows:,} rows: {result.contender.name}{kind}: {outcome}")
    return results


def _schedule(results: Sequence[Result], repetitions: int) -> Iterator[tuple[Result, bool, bool]]:
    """Yield what to run in order, whether the run is timed, and whether its memory is sampled.

    Without repetitions, and for what runs once, the first run is timed as well.
    """
    for round_ in range(max((repetitions * result.contender.more for result in results), default=0) + 1):
        for result in results:
            once = result.contender.once or not repetitions
            if round_ <= (0 if once else repetitions * result.contender.more):
                yield result, once or round_ > 0, round_ == 0


def _run(result: Result, place: Place, *, is_timed: bool, samples: bool) -> None:
    """Run a contender once, and add what was measured to the result."""
    contender = result.contender
    shutil.rmtree(place.out, ignore_errors=True)
    place.out.mkdir()
    with contender.around(place):
        settings = environment(place, contender.settings(place))
        os.sync()
        error_file = place.out / "errors"
        with error_file.open("wb") as errors:
            started = time.perf_counter()
            process = subprocess.Popen(
                list(contender.argv(place)), env=settings, stdout=subprocess.DEVNULL, stderr=errors, cwd=place.out
            )
            if samples:
                with PeakMemory(process.pid) as peak:
                    process.wait()
                result.peak_bytes = peak.bytes
            else:
                process.wait()
            seconds = time.perf_counter() - started
        if process.returncode:
            shown = error_file.read_bytes()[-_ERROR_BYTES:].decode(errors="replace")
            _show(f"{contender.name} failed with exit code {process.returncode}:\n{shown}")
            result.failure = f"failed with exit code {process.returncode}"
            return
        _require_rows(result, place)
        if is_timed:
            result.seconds.append(seconds)
            figures = dict(contender.figures(place))
            if place.work_file.exists():
                figures["work"] = float(place.work_file.read_text())
            for name, value in figures.items():
                result.figures.setdefault(name, []).append(value)


def _require_rows(result: Result, place: Place) -> None:
    """Require that a contender that writes Parquet wrote all rows."""
    from pyarrow.parquet import read_metadata

    path = place.out / "month.parquet"
    if path.exists() and (found := read_metadata(path).num_rows) != place.rows:
        result.failure = f"wrote {found:,} rows instead of {place.rows:,}"


if __name__ == "__main__":
    main()
