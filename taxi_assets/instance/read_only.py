"""The history of runs in a TAXI_HOME that this user cannot write: read from a temporary copy.

SQLite and Dagster write to a history even to read it. Not here: opening a history that can be written (`opening`).
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg

from taxi_assets.errors import HistoryError, StoreBusy
from taxi_assets.instance.opening import open_instance
from taxi_assets.stores.files.os_errors import is_writable, translate_os_errors

_DATABASES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
"""The databases that are read. Those of the single runs are not: they only explain how a killed run ended."""

_COPY_TRIES = 20


@contextmanager
def open_readable(home: Path) -> Iterator[dg.DagsterInstance]:
    """Open the instance in TAXI_HOME, or a copy of it if this user cannot write there. The copy is then deleted.

    Raises HistoryError if the history cannot be used, and StoreError if it cannot be read.
    """
    folder = home / "dagster"
    if _is_writable(folder):
        with open_instance(home) as instance:
            yield instance
        return
    with TemporaryDirectory(prefix="taxi-history-") as copy:
        _copy(folder, Path(copy) / folder.name)
        try:
            with open_instance(Path(copy)) as instance:
                yield instance
        except HistoryError as error:
            facts = {name: str(fact).replace(copy, str(home)) for name, fact in error.facts.items()}
            raise type(error)(str(error).replace(copy, str(home)), **facts) from error


def _is_writable(folder: Path) -> bool:
    """Whether this user can write to all parts of an instance that exist. Without an instance, it does not matter."""
    files = [folder / name for name in _DATABASES]
    parts = [folder, *(file.parent for file in files), *files, folder / ".instance.lock"]
    return not folder.exists() or all(is_writable(part) for part in parts if part.exists())


def _copy(folder: Path, target: Path) -> None:
    with translate_os_errors(folder):
        for name in ("dagster.yaml", *_DATABASES):
            if (folder / name).exists():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                _copy_unchanged(folder / name, target / name)


def _copy_unchanged(file: Path, target: Path) -> None:
    """Copy a file and its write-ahead log. A copy during which another process wrote to one of them is repeated."""
    names = ("", "-wal")
    sources = [file.with_name(f"{file.name}{name}") for name in names]
    for _ in range(_COPY_TRIES):
        before = _versions(sources)
        for source, name in zip(sources, names, strict=True):
            copy = target.with_name(f"{target.name}{name}")
            copy.unlink(missing_ok=True)
            if source.exists():
                shutil.copyfile(source, copy)
        if _versions(sources) == before:
            return
    raise StoreBusy(
        f"The history of runs cannot be read: another process changed {file} during each of {_COPY_TRIES} attempts.",
        path=str(file),
    )


def _versions(files: Sequence[Path]) -> list[tuple[int, int] | None]:
    """Return the size and the time of the last change of each file, or None if it does not exist."""
    return [(file.stat().st_size, file.stat().st_mtime_ns) if file.exists() else None for file in files]
