"""The contenders that are commands of `taxi` and Dagster: whole months, single steps, many months, and start-up."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ours
from contenders import ALL_SIZES, Contender, Size, Subject, function
from place import MONTH, Place
from samples import BIN, empty_postgres

STATUS_MONTHS = 300
"""The months in the history that `taxi status` shows."""

_ONE_MONTH = ("--color", "yellow", "--months", MONTH)
_LAST_SMALL_YEAR = 2020
_YEAR = 12
_STEPS = ("raw_trips", "clean_trips", "lake_trips", "warehouse_trips", "postgres_trips")
_DAEMON_TIMEOUT_S = 120


def month_range(number: int) -> str:
    """Return the last months of the small ones, such as 2019-01..2020-12 for 24."""
    months = _YEAR * _LAST_SMALL_YEAR + _YEAR - number
    return f"{months // _YEAR}-{months % _YEAR + 1:02}..{_LAST_SMALL_YEAR}-12"


def _each_month(number: int) -> list[str]:
    last = _YEAR * (_LAST_SMALL_YEAR + 1)
    return [f"{month // _YEAR}-{month % _YEAR + 1:02}" for month in range(last - number, last)]


def environment(place: Place, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a contender's process: its settings, and no places that the user has set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TAXI_", "DAGSTER_"))}
    home = settings.get("TAXI_HOME", str(place.home))
    places = {
        "TAXI_HOME": home,
        "TAXI_SOURCE_URL": str(place.source),
        # Also those that have a default, because the user's file .env may have other stores.
        "TAXI_LAKE_URL": f"{home}/lake",
        "TAXI_WAREHOUSE_URL": f"duckdb:///{home}/warehouse.duckdb",
        "TAXI_POSTGRES_URL": place.postgres,
        "DAGSTER_HOME": f"{home}/dagster",
    }
    return {**kept, **place.environment(), **places, "PYTHONWARNINGS": "ignore", **settings}


def _months_source(place: Place) -> dict[str, str]:
    return {"TAXI_SOURCE_URL": str(place.months)}


def _prepare(place: Place, settings: Mapping[str, str], *words: str) -> None:
    """Run `taxi` before a run that is timed."""
    command = [str(BIN / "taxi"), *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment(place, settings))


@contextmanager
def _used_home(place: Place) -> Iterator[None]:
    """A TAXI_HOME that has loaded a small month before, so that its history of runs exists. PostgreSQL is empty."""
    template = place.home.with_name("template")
    if not template.exists():
        settings = {**_months_source(place), "TAXI_HOME": str(template)}
        _prepare(place, settings, "materialize", "--color", "yellow", "--months", f"{_LAST_SMALL_YEAR}-12")
    shutil.rmtree(place.home, ignore_errors=True)
    shutil.copytree(template, place.home)
    empty_postgres(place.postgres)
    yield


@contextmanager
def _new_home(place: Place) -> Iterator[None]:
    shutil.rmtree(place.home, ignore_errors=True)
    empty_postgres(place.postgres)
    yield


def _loaded(place: Place) -> dict[str, str]:
    """The settings of a TAXI_HOME in which all steps have loaded the month. A step that runs again replaces it."""
    return {"TAXI_HOME": str(place.home.with_name(f"loaded-{place.rows}"))}


@contextmanager
def _loaded_home(place: Place) -> Iterator[None]:
    settings = _loaded(place)
    if not Path(settings["TAXI_HOME"]).exists():
        empty_postgres(place.postgres)
        _prepare(place, settings, "materialize", *_ONE_MONTH)
    yield


def _step_seconds(place: Place) -> dict[str, float]:
    """Return the seconds of each step of the newest run, from its start event to its end event."""
    from taxi_assets.instance.opening import open_instance
    from taxi_assets.keys import asset_of_step

    with open_instance(place.home) as instance:
        run = instance.get_runs(limit=1)[0]
        stats = instance.get_run_step_stats(run.run_id)
    return {asset_of_step(stat.step_key): (stat.end_time or 0) - (stat.start_time or 0) for stat in stats}


def pipeline_contenders() -> list[Contender]:
    """Return `taxi materialize` of one month, and of each step alone."""

    def materialize(name: str, title: str, **options: Any) -> Contender:
        defaults = {"around": _used_home, "figures": _step_seconds}
        return Contender(
            name, Subject.pipeline, title, lambda _: _taxi("materialize", *_ONE_MONTH), **{**defaults, **options}
        )

    def parquet_source(place: Place) -> dict[str, str]:
        return {"TAXI_SOURCE_URL": place.parquet_source}

    whole = [
        materialize("materialize", "`taxi materialize`, from CSV.gz", sizes=ALL_SIZES),
        materialize(
            "materialize_parquet",
            "`taxi materialize`, from Parquet",
            sizes=(Size.month, Size.large),
            settings=parquet_source,
        ),
        materialize(
            "materialize_new_home",
            "`taxi materialize`, from CSV.gz, the first run in a new TAXI_HOME",
            sizes=(Size.month,),
            around=_new_home,
        ),
    ]
    return whole + [_step(name) for name in _STEPS]


def _step(name: str) -> Contender:
    words = ("materialize", *_ONE_MONTH, "--select", name, *(["--fresh"] if name == "raw_trips" else []))
    return Contender(
        f"step_{name.removesuffix('_trips')}",
        Subject.pipeline,
        f"`taxi materialize --select {name}`, again",
        lambda _: _taxi(*words),
        (Size.month,),
        _loaded,
        _loaded_home,
    )


def _taxi(*words: str) -> list[str]:
    return [str(BIN / "taxi"), *words]


def month_contenders(months: int) -> list[Contender]:
    """Return what loads several small months, and as many runs of empty assets. Some load half of the months."""

    def load(name: str, title: str, number: int, argv: Sequence[str], **options: Any) -> Contender:
        defaults: dict[str, Any] = {"settings": _months_source, "around": _used_home}
        return Contender(
            name,
            Subject.months,
            f"{title}, {number} months",
            lambda _: argv,
            (Size.month,),
            months=number,
            reads_month=False,
            **{**defaults, **options},
        )

    def materialize(number: int, *words: str) -> list[str]:
        return _taxi("materialize", "--color", "yellow", "--months", month_range(number), *words)

    half = months // 2
    backfill = _taxi("backfill", "--color", "yellow", "--months", month_range(months), "--wait")
    return [
        load("months_half", "`taxi materialize`", half, materialize(half)),
        load("months_all", "`taxi materialize`", months, materialize(months)),
        load("months_two_workers", "`taxi materialize --workers 2`", months, materialize(months, "--workers", "2")),
        load("job_execute", "`dagster job execute`, a process a month", months, _job_execute(months), once=True),
        load("backfill", "`taxi backfill --wait`, by a daemon", months, backfill, once=True, around=_daemon),
        _empty("empty_half", half),
        _empty("empty_all", months),
    ]


def _job_execute(months: int) -> list[str]:
    command = [str(BIN / "dagster"), "job", "execute", "-m", "taxi_assets.definitions", "-j", "load_yellow", "--tags"]
    tags = (f'{{"dagster/partition": "{month}"}}' for month in _each_month(months))
    return ["sh", "-ec", "\n".join(shlex.join([*command, tag]) for tag in tags)]


@contextmanager
def _daemon(place: Place) -> Iterator[None]:
    """A daemon that has started, with its code server."""
    with _used_home(place):
        command = [str(BIN / "dagster-daemon"), "run", "-m", "taxi_assets.definitions"]
        log = place.out / "daemon.log"
        with log.open("w") as file:
            daemon = subprocess.Popen(
                command, env=environment(place, _months_source(place)), stdout=file, stderr=file, cwd=place.out
            )
        try:
            _wait_for_daemon(place)
            yield
        finally:
            daemon.terminate()
            daemon.wait()


def _wait_for_daemon(place: Place) -> None:
    from taxi_assets.instance.opening import open_instance
    from taxi_assets.operations.backfills import is_daemon_alive

    deadline = time.monotonic() + _DAEMON_TIMEOUT_S
    with open_instance(place.home) as instance:
        while not is_daemon_alive(instance):
            if time.monotonic() > deadline:
                raise TimeoutError(f"The daemon did not start. Its log is {place.out / 'daemon.log'}")
            time.sleep(0.2)


def _empty(name: str, number: int) -> Contender:
    def settings(_: Place) -> dict[str, str]:
        from taxi_assets.defs.checks import descriptions

        checks = ",".join(str(len(descriptions("yellow", step))) for step in _STEPS)
        return {"EMPTY_RUNS": str(number), "EMPTY_CHECKS": checks}

    made = function(ours.empty_runs, Subject.months)
    title = f"Dagster: runs of five empty assets with as many checks, in one process, {number} runs"
    return Contender(name, made.subject, title, made.argv, (Size.month,), settings, months=number, reads_month=False)


def start_contenders() -> list[Contender]:
    """Return what shows how long a command takes to start."""

    def start(name: str, title: str, argv: Callable[[Place], Sequence[str]], **options: Any) -> Contender:
        return Contender(name, Subject.start, title, argv, (Size.month,), more=3, reads_month=False, **options)

    def python(code: str) -> Callable[[Place], Sequence[str]]:
        return lambda _: [sys.executable, "-c", code]

    def status_home(place: Place) -> dict[str, str]:
        return {"TAXI_HOME": str(place.home.with_name("status"))}

    return [
        start("import_dagster", "`import dagster`", python("import dagster")),
        start(
            "import_definitions",
            "`import taxi_assets.definitions`",
            python("import taxi_assets.definitions"),
            around=_used_home,
        ),
        start("taxi_help", "`taxi --help`", lambda _: _taxi("--help")),
        start(
            "open_history",
            f"Dagster: open the history of {STATUS_MONTHS} months, and read one run",
            function(ours.open_history, Subject.start).argv,
            settings=status_home,
            around=_status_home,
        ),
        start(
            "taxi_status",
            f"`taxi status`, with {STATUS_MONTHS} months in the history",
            lambda _: _taxi("status"),
            settings=status_home,
            around=_status_home,
        ),
    ]


@contextmanager
def _status_home(place: Place) -> Iterator[None]:
    from histories import report_months

    home = place.home.with_name("status")
    if not home.exists():
        report_months(home, STATUS_MONTHS)
    yield
