"""Months removed from the stores, and from what the history calls loaded.

Not here: how a store removes (`stores`), and how people are asked (`cli`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache

import dagster as dg

from taxi_assets.defs.history import read_history, report_wiped
from taxi_assets.errors import TaxiAssetsError
from taxi_assets.news import UNDER_WAY, Lot, MonthHistory
from taxi_assets.settings import Settings
from taxi_assets.stores.holdings import Holder, Holding
from taxi_assets.systems import open_holder
from taxi_assets.tlc.trips import TripMonth


class Wiper:
    """Looks for months in stores, and removes them.

    A store that fails at one month of a color is not asked for its others, which would take as long each; other stores
    and colors go on.
    """

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self._settings = settings
        self._instance = instance
        self._open = cache(lambda store: open_holder(settings, store))

    def look(self, months: Sequence[TripMonth], stores: Sequence[str]) -> Iterator[Lot]:
        """What each store holds of each month: nothing is a lot too."""
        return self._each([(month, store) for month in months for store in stores], lambda holder: holder.held)

    def remove(self, lots: Sequence[Lot]) -> Iterator[Lot]:
        """Remove the lots; each is given as what went, or as why it did not.

        Where there is nothing, the history does not call the month loaded any more, too: a wipe that was stopped
        between the store and the history is put right by the next.
        """
        histories = self._histories()
        for lot in lots:
            if not lot.held:
                self._report(lot, histories)
        there = [(lot.month, lot.store) for lot in lots if lot.held]
        for lot in self._each(there, lambda holder: holder.remove):
            self._report(lot, histories)
            yield lot

    def under_way(self, months: Sequence[TripMonth]) -> list[TripMonth]:
        """Those of the months that a run may put somewhere again."""
        histories = self._histories()
        return [month for month in months if month in histories and histories[month].standing in UNDER_WAY]

    def _histories(self) -> dict[TripMonth, MonthHistory]:
        known = read_history(self._instance, self._settings)
        return {history.month: history for history in known}

    def _each(
        self,
        places: Sequence[tuple[TripMonth, str]],
        work: Callable[[Holder], Callable[[TripMonth], Sequence[Holding]]],
    ) -> Iterator[Lot]:
        failed: set[tuple[str, str]] = set()
        for month, store in places:
            if (month.color, store) in failed:
                continue
            try:
                lot = Lot(month, store, work(self._open(store))(month))
            except TaxiAssetsError as error:
                failed.add((month.color, store))
                lot = Lot(month, store, error=str(error))
            yield lot

    def _report(self, lot: Lot, histories: Mapping[TripMonth, MonthHistory]) -> None:
        """Let the history know that the lot is gone, if it calls the month loaded there."""
        history, station = histories.get(lot.month), f"{lot.store}_trips"
        if history and station in history.rows and not lot.error:
            over = history.standing not in UNDER_WAY
            report_wiped(self._instance, lot.month, station, history.run_id if over else "")
