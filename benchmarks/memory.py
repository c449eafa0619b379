"""The peak memory of a process and its descendants, sampled while they run. Linux only.

The proportional set size (PSS) counts a page that several processes share once, divided among them.
"""

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_INTERVAL_S = 0.05


class PeakMemory:
    """Samples the memory of the tree of a process in a thread until the end of the context. `bytes` is the maximum."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        before = {self._pid}
        while not self._ended.wait(_INTERVAL_S):
            tree = set(_tree(self._pid))
            # Until a new process runs its program, it has the memory of its parent, which would count twice.
            self.bytes = max(self.bytes, sum(_pss(pid) for pid in tree & before))
            before = tree


def _tree(pid: int) -> Iterator[int]:
    """Yield a process and its descendants. Processes that exit meanwhile are left out."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in task.read_text().split():
                yield from _tree(int(child))


def _pss(pid: int) -> int:
    """Return the proportional set size of a process in bytes; 0 if it has exited or belongs to another user."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0
