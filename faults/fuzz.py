"""Read files that were changed at random, guided by the lines of `taxi_assets.tlc` that they reach.

Run by `make test-fuzz`; the options are in FUZZ. A file that breaks what must hold is kept in faults/corpus. Without
options, this takes less than 20 seconds. It needs atheris, which the replay of the corpus does not.
"""

import argparse
import concurrent.futures
import gzip
import hashlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from subprocess import PIPE, STDOUT
from types import SimpleNamespace
from typing import Any, Self

from disks import memory_folder
from outcomes import Outcome, table

KINDS = ("csv", "gz", "parquet")

_CORPUS = Path(__file__).parent / "corpus"

_GROWN = Path(__file__).parent.parent / "build" / "fuzz"
"""Files that reached new lines in earlier runs, with which the next run continues."""

_SHORT_S = 4

_LONGEST = {"csv": 6_000, "gz": 4_000, "parquet": 30_000}
"""Maximum bytes of a file. Small files are read faster, so that more are tried."""

_TIMEOUT_S, _MEMORY_MB = 20, 2_000
"""A file that takes longer, or more memory, is kept like one that ends in an exception. All files use one process."""

_LONGEST_PROCESS_S = 300
"""Seconds after which another process continues. The fuzzer itself needs more memory with each file."""

_MOST_FINDINGS = 5
"""Findings after which a kind is not tried any longer: most are the same one."""

_WORDS = (
    *("2021-01-05 08:00:00", "2021-02-30 08:00:00", "9999-12-31 23:59:59", "2021-01-05T08:00:00Z", "1.0", "-0", "1e9"),
    *("0x1F", "9007199254740993", "9223372036854775808", "nan", "inf", "NULL", "N/A", "\\N", ",", ",,", "\r\n", "\n\n"),
    *('"', '""', ',"', '",', "\ufeff", "\0", "\r", ";", "\t", "sep=;", "<html>", "{", "PAR1", "é", "\u202e", " "),
    *("vendor_name", "VendorID", "passenger_count", "tpep_pickup_datetime", "lpep_pickup_datetime", "pickup_datetime"),
    *("dispatching_base_num", "hvfhs_license_num", "SR_Flag", "congestion_surcharge", "Airport_fee", "Unnamed: 0"),
)
"""What random changes insert into CSVs."""


def main() -> int:
    """Try random files, or read the corpus once. Return 1 if anything did not hold."""
    options = _options()
    if options.child:
        _fuzz(options.child, options.rest)
    if options.replay:
        return _replay(options.replay)
    seconds = options.minutes * 60 / len(options.kinds) if options.minutes else _SHORT_S
    outcomes = []
    for kind in options.kinds:
        outcomes.append(_try(kind, seconds, options.seed))
        print(f"{'BROKEN' if outcomes[-1].broken else 'held':7}{outcomes[-1].kind}", flush=True)
    print()
    print("\n".join(table(outcomes)))
    for outcome in outcomes:
        print("".join(f"\n{outcome.kind}: {what}\n" for what in outcome.broken), end="")
    return 1 if any(outcome.broken for outcome in outcomes) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the random changes (default: 1)")
    parser.add_argument("--minutes", type=float, help="try random files for this long, all kinds together")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="the kinds of files (default: all)")
    parser.add_argument("--replay", nargs="+", type=Path, metavar="FILE", help="read these files of the corpus once")
    parser.add_argument("--child", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


def _replay(paths: Sequence[Path]) -> int:
    """Read files of the corpus, whose folders are their kinds. The first exception ends it with a traceback."""
    from reader import read

    for path in paths:
        with tempfile.TemporaryDirectory(prefix="taxi-fuzz-") as folder:
            print(f"{path}: {read(path.parent.name, path.read_bytes(), Path(folder)) or 'cleaned'}")
    return 0


def _try(kind: str, seconds: float, seed: int) -> Outcome:
    """Try random files of a kind, in processes of their own, because a file may end the process."""
    started, processes, executed, reached = time.monotonic(), 0, 0, 0
    broken: list[str] = []
    with tempfile.TemporaryDirectory(prefix="taxi-fuzz-", dir=memory_folder()) as name:
        folder = Path(name)
        seeds = list(_prepare(kind, folder))
        while (left := seconds - (time.monotonic() - started)) > 1 and len(broken) < _MOST_FINDINGS:
            words = _words(kind, folder, seeds, min(int(left), _LONGEST_PROCESS_S) or 1, seed + processes)
            processes += 1
            done = subprocess.run(words, stdout=PIPE, stderr=STDOUT, check=False)  # noqa: S603
            log = done.stdout.decode(errors="backslashreplace")
            executed += _last(r"^stat::number_of_executed_units: (\d+)|^#(\d+)\t", log)
            reached = max(reached, _last(r" cov: (\d+) ", log))
            if done.returncode:
                broken.append(f"the process ended with {done.returncode}: {_keep(kind, folder, log)}")
        # They must not be in the corpus while it is read, because the next process would end with them too.
        for path in (folder / "kept").iterdir():
            shutil.copyfile(path, _CORPUS / kind / path.name)
    counts = {"files": executed, "branches reached": reached}
    return Outcome(f"random bytes: {kind}", kind, tuple(broken), counts, time.monotonic() - started)


def _prepare(kind: str, folder: Path) -> Iterator[Path]:
    """Write what a process needs to a folder, and yield the folders with the files to start from."""
    (folder / "work").mkdir()
    (folder / "found").mkdir()
    (folder / "kept").mkdir()
    (_CORPUS / kind).mkdir(parents=True, exist_ok=True)
    grown = _GROWN / kind
    grown.mkdir(parents=True, exist_ok=True)
    words = ("".join(map(r"\x{:02x}".format, word.encode())) for word in _WORDS)
    (folder / "words").write_text("".join(f'"{word}"\n' for word in words))
    yield grown
    if kind == "gz":
        packed = folder / "packed"
        packed.mkdir()
        for path in (_CORPUS / "csv").iterdir():
            (packed / path.name).write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        yield packed
    yield _CORPUS / kind


def _words(kind: str, folder: Path, seeds: Sequence[Path], seconds: int, seed: int) -> list[str]:
    settings = {
        "max_total_time": seconds,
        "seed": seed,
        "max_len": _LONGEST[kind],
        "timeout": _TIMEOUT_S,
        "rss_limit_mb": _MEMORY_MB,
        "artifact_prefix": f"{folder / 'found'}/",
        "dict": folder / "words",
        "print_final_stats": 1,
        "reload": 0,
    }
    fixed = [sys.executable, __file__, "--child", kind, "--", str(folder / "work")]
    return [*fixed, *(f"-{name}={value}" for name, value in settings.items()), *map(str, seeds)]


def _last(pattern: str, log: str) -> int:
    found = re.findall(pattern, log, re.MULTILINE)
    return int("".join(found[-1])) if found else 0


def _keep(kind: str, folder: Path, log: str) -> str:
    """Keep what a process found for the corpus. Return the message, with the end of the log and how to repeat it."""
    lines = [line for line in log.splitlines() if not line.startswith(("#", "INFO", "stat::", "\t"))]
    shown = "\n  ".join(lines[-_SHOWN_LINES:])
    for path in (folder / "found").iterdir():
        name = f"{path.name.partition('-')[0]}-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
        path.rename(folder / "kept" / name)
        words = ["--replay", str((_CORPUS / kind / name).relative_to(_CORPUS.parent.parent))]
        shown += f"\nTo repeat it: make test-fuzz FUZZ={shlex.quote(shlex.join(words))}"
    return shown


_SHOWN_LINES = 25


class _NoThreads:
    """Instead of a pool of threads: each function is called by the thread that asks for its result."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, function: Callable[..., Any], *arguments: object) -> SimpleNamespace:
        """Return what has the function as `result`."""
        return SimpleNamespace(result=partial(function, *arguments))


def _fuzz(kind: str, words: Sequence[str]) -> None:
    """Try random files in this process, until the time is over or one breaks what must hold. Does not return."""
    import atheris
    import pyarrow as pa

    # Small files would mostly wait for threads to start and to end.
    pa.set_cpu_count(1)
    vars(concurrent.futures)["ThreadPoolExecutor"] = _NoThreads
    with atheris.instrument_imports(include=["taxi_assets.tlc"]):
        from reader import read
    from mutations import change_gzip, change_parquet

    work = Path(words[0])

    def attempt(content: bytes) -> None:
        read(kind, content, work)

    changes = {"gz": change_gzip, "parquet": change_parquet}
    ways = {}
    if kind in changes:
        ways["custom_mutator"] = lambda content, longest, seed: changes[kind](content, longest, seed, atheris.Mutate)
    atheris.Setup([sys.argv[0], *words[1:]], attempt, **ways)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
