"""Undisturbed loads of both versions of a month, and how an installation differs from them after a load was disturbed.

Each trial loads the version of the month that is not loaded, which shows whether a store has the old month or the new
one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contents import Leftovers, compare, impossible, look_around, misplaced, read_versions, take_snapshot
from forks import ChildFailed
from installation import NEW, OLD, Installation, write_both_versions

LONGEST_RUN_S = 120.0
"""Seconds after which a load that was disturbed counts as waiting forever."""

_BLOCK_BYTES, _CHUNK_BYTES = 64 << 10, 32 << 10
"""The bytes that are parsed at once, and those that are downloaded at once: a month has several of each."""

_STATUSES = ("loaded", "failed", "stale")
"""What the status of a month may be after a load was disturbed. It must not be that of a run in progress."""


@dataclass(frozen=True)
class Reference:
    """What an undisturbed load of a version leaves: its snapshot, the names of the files and tables, its status."""

    snapshot: Path
    leftovers: Leftovers
    status: dict[str, Any]


class Undisturbed:
    """An installation with a month loaded, and what undisturbed loads of its two versions leave."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self._seen = installation.folder / "seen"
        installation.ask("versions", write_both_versions, installation)
        self._references = {version: self._load(version) for version in (NEW, OLD)}
        self._snapshots = {version: reference.snapshot for version, reference in self._references.items()}
        self._new = OLD

    def _load(self, version: str) -> Reference:
        """Load a version into an empty installation. Raises ChildFailed."""
        there = self.installation
        there.empty()
        there.publish(version)
        child = there.materialize()
        if child.process.exitcode:
            raise ChildFailed(f"the undisturbed load failed: {child.output}")
        snapshot = there.folder / f"reference-{version}"
        there.ask("snapshot", take_snapshot, there, snapshot)
        [status] = there.status()
        return Reference(snapshot, there.ask("look", look_around, there), status)

    def publish_other(self) -> None:
        """Give the source the version that is not loaded."""
        self._new = OLD if self._new == NEW else NEW
        self.installation.publish(self._new)

    def look(self, step: str, *, is_loaded: bool = False) -> list[str]:
        """Readers see either version of each store, the new one if it was loaded, and no run is in progress.

        `step` is the one in which the load was disturbed.
        """
        there = self.installation
        found = there.ask("seen", read_versions, there, self._seen, self._snapshots)
        broken = impossible(found, self._snapshots, self._new)
        if is_loaded:
            broken += [f"{store} has {version}" for store, version in found.items() if version != self._new]
        else:
            broken += misplaced(found, step, self._new)
        statuses = [month["status"] for month in there.status()]
        return broken + [f"the status is {status}" for status in statuses if status not in _STATUSES]

    def look_after_the_repair(self) -> list[str]:
        """After a clean run, everything is as after an undisturbed load."""
        there, expected = self.installation, self._references[self._new]
        child = there.materialize()
        if child.process.exitcode:
            return [f"the clean run ended with {child.process.exitcode}: {child.output[-1500:]}"]
        broken = there.ask("compare", compare, there, self._seen, expected.snapshot, expected.leftovers)
        [status] = there.status()
        if {**status, "run": ""} != {**expected.status, "run": ""}:
            broken.append(f"the status is {status}. Expected {expected.status}")
        return [f"after the clean run, {what}" for what in broken]


def use_small_blocks() -> None:
    """Let this process read files in small blocks, so that a small month has as many as a large one."""
    from taxi_assets.stores.source import download
    from taxi_assets.tlc.raw import read_blocks

    read_blocks.__defaults__ = (_BLOCK_BYTES, "")
    download.CHUNK_BYTES = _CHUNK_BYTES
