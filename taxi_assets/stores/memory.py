"""Errors of a process that has too little memory: how libraries report it, and the limits of this process.

A library that cannot allocate memory, start a thread or load its code reports it in its own way. Not here: a process
that the system killed because memory ran out, which reports nothing.
"""

import errno
import re
import resource
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from taxi_assets.errors import OutOfMemory

_KINDS = ("OutOfMemoryException", "MemoryError", "ArrowMemoryError", "_ArrayMemoryError")
"""The exceptions of DuckDB, Python, Arrow and NumPy for memory that cannot be allocated."""

_VAGUE_KINDS = ("ArrowException", "ImportError", "OSError", "RuntimeError")
"""Exceptions that only say in their text that memory ran out."""

_TEXTS = re.compile(
    r"cannot allocate memory|can't start new thread|failed to launch worker thread|failed to map segment|"
    r"cannot map zero-fill|bad[ _]alloc|out of memory|memory allocation (?:still )?(?:of \d+ bytes )?failed|"
    r"^MemoryError|pthread_create|failed to create thread",
    re.IGNORECASE | re.MULTILINE,
)
"""What libraries and the system say if they cannot allocate memory or start a thread."""

_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Files with the memory limit of a container, in the second and the first version of control groups."""

_NO_LIMIT = 1 << 50


class translate_memory_errors:  # noqa: N801  # used like a function
    """Raise OutOfMemory instead of any error in the `with` block whose cause is that memory ran out."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and (translated := find_memory_error(error)):
            raise translated from error


def find_memory_error(error: BaseException) -> OutOfMemory | None:
    """Return an OutOfMemory error if memory ran out according to one of the causes of another error."""
    if isinstance(error, OutOfMemory):
        return None
    cause: BaseException | None = error
    while cause is not None:
        is_errno = isinstance(cause, OSError) and cause.errno == errno.ENOMEM
        if is_errno or is_memory_error(type(cause).__name__, str(cause)):
            return out_of_memory(str(cause), describe_memory_limits())
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return None


def is_memory_error(kind: str, text: str) -> bool:
    """Return whether an exception says that memory ran out, by the name of its class and its text."""
    # With a limit, Python and its extensions also fail in ways that are bugs of their handling of missing memory.
    is_limited = kind == "SystemError" and _address_space() is not None
    return kind in _KINDS or is_limited or (kind in _VAGUE_KINDS and mentions_memory(text))


def mentions_memory(text: str) -> bool:
    """Return whether a message of a library or the output of a program says that memory ran out."""
    return bool(_TEXTS.search(text))


def out_of_memory(reason: str, limits: str = "") -> OutOfMemory:
    """Return an error with the reason that a library gave, and with the limits of the process if they are known."""
    line = next((line.strip() for line in reason.splitlines() if mentions_memory(line)), reason.partition("\n")[0])
    said = f": {line.rstrip('.!')}" if line else ""
    return OutOfMemory(f"The process ran out of memory{said}. {limits}".strip())


def describe_memory_limits() -> str:
    """Return how much memory this process has used at most, and the limits that apply to it, as sentences."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    parts = [f"It used up to {_megabytes(used)}."]
    if (address_space := _address_space()) is not None:
        parts.append(f"The limit of its address space (ulimit -v) is {_megabytes(address_space)}.")
    if (container := _container_limit()) is not None:
        parts.append(f"The limit of the container is {_megabytes(container)}.")
    return " ".join(parts)


def _address_space() -> int | None:
    """Return the limit of `ulimit -v` in bytes, or None if there is none."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _container_limit() -> int | None:
    for path in _CGROUPS:
        with suppress(OSError, ValueError, MemoryError):
            limit = int(Path(path).read_text())
            return limit if limit < _NO_LIMIT else None
    return None


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
