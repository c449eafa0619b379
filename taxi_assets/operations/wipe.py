"""Delete months from stores, and report them to Dagster as no longer loaded.

Not here: how a store deletes data (`stores`), and how the user confirms (`cli`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import dagster as dg

from taxi_assets.connections import open_inventory
from taxi_assets.errors import TaxiAssetsError
from taxi_assets.graph import ASSET_OF_STORE
from taxi_assets.instance.partition_status import IN_PROGRESS, MonthStatus, read_history, report_wiped
from taxi_assets.settings import Settings
from taxi_assets.stores.inventory import Inventory, StoredItem
from taxi_assets.tlc.trips import TripMonth


@dataclass(frozen=True)
class StoredMonth:
    """The items of a month in one store, either found or just deleted, or the error of the lookup or deletion."""

    month: TripMonth
    store: str
    items: Sequence[StoredItem] = ()
    error: str = ""


class Wiper:
    """Finds months in stores and deletes them.

    After a store fails for one month of a color, it is skipped for the other months of that color, because each would
    take as long to fail. Other stores and colors continue.
    """

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self._settings = settings
        self._instance = instance
        self._open = cache(lambda store: open_inventory(settings, store))

    def find(self, months: Sequence[TripMonth], stores: Sequence[str]) -> Iterator[StoredMonth]:
        """Yield the stored items of each month in each store, including months without items."""
        return self._each([(month, store) for month in months for store in stores], lambda inventory: inventory.items)

    def remove(self, stored: Sequence[StoredMonth]) -> Iterator[StoredMonth]:
        """Delete stored items. Yield each month with the deleted items or with the error.

        A month without items is also reported to Dagster as wiped. This completes an earlier wipe that was interrupted
        after the deletion and before the report.
        """
        histories = self._histories()
        for entry in stored:
            if not entry.items:
                self._report(entry, histories)
        existing = [(entry.month, entry.store) for entry in stored if entry.items]
        for entry in self._each(existing, lambda inventory: inventory.remove):
            self._report(entry, histories)
            yield entry

    def in_progress(self, months: Sequence[TripMonth]) -> list[TripMonth]:
        """The months with a queued or active run, which may load them again."""
        histories = self._histories()
        return [month for month in months if month in histories and histories[month].status in IN_PROGRESS]

    def _histories(self) -> dict[TripMonth, MonthStatus]:
        known = read_history(self._instance, self._settings)
        return {history.month: history for history in known}

    def _each(
        self,
        places: Sequence[tuple[TripMonth, str]],
        work: Callable[[Inventory], Callable[[TripMonth], Sequence[StoredItem]]],
    ) -> Iterator[StoredMonth]:
        failed: set[tuple[str, str]] = set()
        for month, store in places:
            if (month.color, store) in failed:
                continue
            try:
                entry = StoredMonth(month, store, work(self._open(store))(month))
            except TaxiAssetsError as error:
                failed.add((month.color, store))
                entry = StoredMonth(month, store, error=error.explain())
            yield entry

    def _report(self, entry: StoredMonth, histories: Mapping[TripMonth, MonthStatus]) -> None:
        """Report a month to Dagster as wiped if it is recorded as loaded and the deletion succeeded."""
        history, asset = histories.get(entry.month), ASSET_OF_STORE[entry.store]
        if history and asset in history.rows and not entry.error:
            finished = history.status not in IN_PROGRESS
            report_wiped(self._instance, entry.month, asset, history.run_id if finished else "")
