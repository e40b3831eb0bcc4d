"""Compiles what a backtest and an import need, once: `python -m engine.backtest.warm_up`, a step of the set-up."""

from __future__ import annotations

import datetime as dt
import tempfile
import time
from pathlib import Path

from engine.backtest.backtest import run_days
from engine.config import SHIPPED, Config, QuoterName, override
from engine.plan import Plan
from engine.recordings.catalog import open_catalog
from engine.recordings.simulation import simulate_day
from venues.recordings.quality import measure

_SECONDS, _DAY, _SEED = 90.0, dt.date(2020, 3, 2), 1
_QUOTERS: tuple[QuoterName, ...] = ("foic", "cmm")


def warm_up() -> float:
    """Trade a minute of a simulated market in both lanes; return how long that took, seconds."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        config = override(Config(), {"data.path": str(Path(scratch) / "data"), "backtest.engine": "both"})
        catalog = open_catalog(config)
        day = simulate_day(catalog, _SEED, _SECONDS, _DAY)
        measure(catalog, day)
        for quoter in _QUOTERS:
            run_days(catalog, [day], Plan(config, quoter, SHIPPED if quoter == "cmm" else None, None))
    return time.perf_counter() - started


if __name__ == "__main__":
    print(f"compiled in {warm_up():.0f} s")
