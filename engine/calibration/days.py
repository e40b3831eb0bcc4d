"""Days whose recordings name orders (L3): what queue models are held against."""

from __future__ import annotations

from engine.calibration.hypothetical_orders import L3Day, load
from engine.progress import SILENT, Progress
from engine.recordings.catalog import select_days
from engine.recordings.simulation import simulate_orders_day
from market.errors import DataError
from venues.recordings.catalog import Catalog


def recorded_days(
    catalog: Catalog, instrument: str, dates: str | None = None, progress: Progress = SILENT
) -> list[L3Day]:
    """Read the days of an instrument that name their orders and on which something traded.

    Raises
    ------
    DataError
        There is no such day.

    """
    chosen = select_days(catalog, instrument, dates)
    named = [day for day in chosen if day.orders]
    if not named:
        raise DataError(
            f"{chosen[0].instrument}: no recording names its orders (L3), so that true queues are not known; import "
            "one that does (Bitstamp orders, CME market-by-order), again if an older version imported it"
        )
    days = []
    with progress.share("reading") as update:
        for i, day in enumerate(named):
            update(str(day.date), i / len(named))
            days.append(load(catalog, day))
    traded = [day for day in days if day.day.trades]
    if not traded:
        raise DataError(
            f"{chosen[0].instrument}: nothing traded on {', '.join(str(d.date) for d in named)}; give more days"
        )
    return traded


def simulated_days(catalog: Catalog, minutes: float, seed: int, progress: Progress = SILENT) -> list[L3Day]:
    """Simulate a market that names its orders into a catalog, and read it."""
    return [load(catalog, simulate_orders_day(catalog, seed, minutes * 60.0, progress))]
