"""A simulated day in a catalog of its own, for benchmarks."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from market.contracts import ContractTable
from venues.recordings.catalog import Catalog, Day
from venues.recordings.importer import import_events
from venues.recordings.simulator import simulate


@contextmanager
def simulated_day(seconds: float, seed: int = 1) -> Iterator[tuple[Catalog, Day]]:
    """A catalog with one simulated day of that length."""
    with tempfile.TemporaryDirectory(prefix="cmm-bench-") as folder:
        catalog = Catalog(Path(folder), ContractTable())
        start = int(dt.datetime(2020, 1, 6, 9, tzinfo=dt.UTC).timestamp()) * 10**9
        done = import_events(
            catalog, simulate(seed, seconds, start), "benchmark", "simulator", [], Counter(), lambda *_: None
        )
        yield catalog, done.days[0]
