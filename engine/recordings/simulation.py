"""Days of a simulated market, in the catalog like recorded ones."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable

from engine.config import Config
from engine.progress import SILENT, Progress
from engine.recordings.catalog import open_catalog
from market.errors import ConfigError
from market.events import Event
from venues.recordings.catalog import Catalog, Day
from venues.recordings.importer import import_events
from venues.recordings.simulator import SYMBOL, simulate, simulate_orders

_EVENTS_PER_S, _ORDERS_PER_S = 30.0, 55.0  # about, for the progress
_OPENS = dt.time(9)
_DATE = dt.date(2020, 3, 2)


def simulate_recording(config: Config, minutes: float, seed: int, progress: Progress = SILENT) -> Day:
    """Simulate one day into the user's catalog, once: what is there already stays.

    Raises
    ------
    ConfigError
        The catalog has that day.

    """
    catalog = open_catalog(config)
    if _DATE in catalog.days("QR.SIM"):
        raise ConfigError(f"{config.data.path}: there is a QR.SIM of {_DATE} already; take another --set data.path=…")
    return simulate_day(catalog, seed, minutes * 60.0, _DATE, progress)


def simulate_day(
    catalog: Catalog, seed: int, seconds: float, date: dt.date = _DATE, progress: Progress = SILENT
) -> Day:
    """Simulate a market of price levels (L2) into a catalog."""
    events = simulate(seed, seconds, _start_ns(date))
    return _write(catalog, events, f"simulated market, seed {seed}", _EVENTS_PER_S * seconds, progress)


def simulate_orders_day(catalog: Catalog, seed: int, seconds: float, progress: Progress = SILENT) -> Day:
    """Simulate a market that names its orders (L3) into a catalog."""
    return _write(catalog, simulate_orders(seed, seconds, _start_ns(_DATE)), SYMBOL, _ORDERS_PER_S * seconds, progress)


def _write(catalog: Catalog, events: Iterable[Event], name: str, total: float, progress: Progress) -> Day:
    with progress.share("simulating") as update:
        done = import_events(
            catalog, events, name, "simulator", [], Counter(), lambda _, n: update(f"{n:,} events", n / total)
        )
    return done.days[0]


def _start_ns(date: dt.date) -> int:
    return int(dt.datetime.combine(date, _OPENS, dt.UTC).timestamp()) * 10**9
