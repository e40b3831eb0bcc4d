"""The days that teach, choose, calibrate and test: recorded, simulated, or rolled forward in folds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from engine.backtest.datasets import record_days
from engine.config import Config, override
from engine.progress import Progress
from engine.recordings.catalog import open_catalog, select_days
from engine.recordings.simulation import simulate_day
from market.errors import ConfigError
from venues.recordings.catalog import Catalog, Day

if TYPE_CHECKING:
    from engine.training.request import Request
    from models.features.splits import Splits

_SIMULATED_S = (5400.0, 5400.0, 3600.0, 3600.0, 3600.0)  # each day: two to train, valid, calibrate, test
_SIMULATED_FROM = dt.date(2020, 1, 6)


def simulated_splits(config: Config, window: int, progress: Progress) -> Splits:
    """Days of a simulated market, in a catalog of its own; those that are there are not simulated again."""
    from models.features.splits import make

    catalog = open_catalog(override(config, {"data.path": str(Path(config.data.path) / "simulated")}))
    dates = [_SIMULATED_FROM + dt.timedelta(days=i) for i in range(len(_SIMULATED_S))]
    known = {day.date: day for name in catalog.instruments() for day in catalog.days(name).values()}
    for seed, (date, seconds) in enumerate(zip(dates, _SIMULATED_S, strict=True)):
        if date not in known:
            known[date] = simulate_day(catalog, seed, seconds, date, progress)
    paths = _paths(catalog, [known[date] for date in dates], config, progress)
    return make(paths[:2], paths[2:3], paths[3:4], paths[4:], window)


def recorded_splits(config: Config, request: Request, window: int, progress: Progress) -> list[Splits]:
    """Splits of the days that a request names: one, or one for each fold.

    Raises
    ------
    ConfigError
        Days are missing, or too few for the folds.

    """
    from models.features.splits import make

    if not request.instruments or request.dates["train"] is None:
        raise ConfigError("train needs --instrument and --train DATES (or --quick for the simulated market)")
    catalog = open_catalog(config)
    if request.folds > 1:
        if any(request.dates[name] is not None for name in ("valid", "calibrate", "test")):
            raise ConfigError("--folds rolls its own valid, calibrate and test days over --train; leave the others out")
        return [make(a, b, c, d, window) for a, b, c, d in _folds(config, catalog, request, progress)]
    found: dict[str, list[Path]] = {}
    for name, dates in request.dates.items():
        days = [] if dates is None else _days(catalog, request.instruments, dates, f"--{name}")
        found[name] = _paths(catalog, days, config, progress)
    return [make(found["train"], found["valid"], found["calibrate"], found["test"], window)]


def _folds(config: Config, catalog: Catalog, request: Request, progress: Progress) -> list[list[list[Path]]]:
    """Rolling windows of days: train, then one day each to validate, calibrate and test."""
    days = _days(catalog, request.instruments, request.dates["train"], "--train")
    dates = sorted({day.date for day in days})
    taught = len(dates) - request.folds - 2
    if taught < 1:
        raise ConfigError(
            f"--folds {request.folds} needs {request.folds + 3} days, --train names {len(dates)}; "
            "give more days or fewer folds"
        )
    paths = {day.date: _paths(catalog, [d for d in days if d.date == day.date], config, progress) for day in days}
    rolled = []
    for first in range(request.folds):
        edges = [first, first + taught, first + taught + 1, first + taught + 2, first + taught + 3]
        rolled.append([[p for date in dates[a:b] for p in paths[date]] for a, b in pairwise(edges)])
    return rolled


def _days(catalog: Catalog, instruments: Sequence[str], dates: str | None, option: str) -> list[Day]:
    return [day for name in instruments for day in select_days(catalog, name, dates, option)]


def _paths(catalog: Catalog, days: list[Day], config: Config, progress: Progress) -> list[Path]:
    return [done.path for done in record_days(catalog, days, config, progress)]
