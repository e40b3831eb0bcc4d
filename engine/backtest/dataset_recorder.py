"""Records datasets in one pass over a day's columns: features at sampled updates, and outcomes once they are known."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.config import Config
from market.columns import Columns
from models.errors import ModelError
from models.features.dataset import DatasetHeader, DatasetWriter, read_header
from models.features.market_pass import Block, MarketPass
from models.features.outcomes import Known, OutcomeTracker
from venues.recordings.catalog import Catalog, Day

type Progress = Callable[[dt.date, float], None]
type _Noted = tuple[NDArray[np.float32], int]
"""Features and regime of a sample."""


class _Recorder:
    """At each sampled book update it keeps the features, and writes them when their outcome is known."""

    def __init__(self, columns: Columns, config: Config, writer: DatasetWriter) -> None:
        spec = config.features
        self.counts: Counter[str] = Counter()
        self._columns, self._writer = columns, writer
        self._tracker: OutcomeTracker[_Noted] = OutcomeTracker(
            spec.horizon_s, spec.max_gap_s, round(config.record.min_interval_ms * 1e6)
        )
        self._seen = 0  # events

    def take(self, block: Block) -> int:
        """Take the updates of a block, and the trades before each; return the time of the last."""
        tracker, start, stop = self._tracker, self._seen, int(block.event[-1]) + 1
        times = np.asarray(self._columns.ts[start:stop]).tolist()
        touches = zip(block.event.tolist(), block.bid.tolist(), block.ask.tolist(), block.sound.tolist(), strict=True)
        ready = block.ready.tolist()
        for i, (event, bid, ask, sound) in enumerate(touches):
            self._take_trades(event)
            self._seen = event + 1
            ts = times[event - start]
            self._keep(tracker.on_book(ts, bid, ask, sound=sound))
            if ready[i] and tracker.is_due(ts):
                tracker.sample(ts, (block.vector[i].copy(), int(block.regime[i])))
        self.counts["book_updates"] += len(ready)
        return int(times[-1])

    def close(self) -> None:
        """The day is over."""
        self._take_trades(len(self._columns.kind))
        self._keep(self._tracker.close())

    def _take_trades(self, until: int) -> None:
        c = self._columns
        for event in range(self._seen, until):
            row = int(c.first[event])
            trade = (int(c.ts[event]), int(c.price[row]), int(c.size[row]), int(c.side[row]))
            self._keep(self._tracker.on_trade(*trade))

    def _keep(self, known: list[Known[_Noted]]) -> None:
        for (features, regime), outcome in known:
            if outcome is not None:
                self._writer.add(outcome, features, regime)
                self.counts["rows"] += 1
            else:
                self.counts["broken_off"] += 1


def dataset_path(catalog: Catalog, day: Day, config: Config) -> Path:
    """Where a day's dataset lies: by feature spec and sampling, instrument and date."""
    key = f"{config.features.hash}-{config.record.min_interval_ms:g}ms"
    return catalog.root / "datasets" / key / day.instrument / f"{day.date}.parquet"


def record_day(
    catalog: Catalog, day: Day, config: Config, progress: Progress | None = None
) -> tuple[Path, dict[str, int]]:
    """Record one day unless it is there already for the same source and features.

    Returns
    -------
    tuple[Path, dict]
        The file, and counts (rows, broken_off, book_updates); empty if nothing had to be done.

    """
    path = dataset_path(catalog, day, config)
    if path.exists() and _is_current(path, day):
        return path, {}
    catalog.contract(day)  # refuses a day whose terms have changed since
    header = DatasetHeader(day.instrument, str(day.date), config.features, day.sha256, day.depth)
    writer = DatasetWriter(path, header)
    columns, span = catalog.columns(day), max(day.end_ns - day.start_ns, 1)
    recorder = _Recorder(columns, config, writer)
    try:
        for block in MarketPass(config.features, day.depth).blocks(columns):
            ts = recorder.take(block)
            if progress is not None:
                progress(day.date, (ts - day.start_ns) / span)
        recorder.close()
        writer.close()
    except BaseException:
        writer.abort()
        raise
    return path, dict(recorder.counts)


def _is_current(path: Path, day: Day) -> bool:
    try:
        return read_header(path).source_sha256 == day.sha256
    except ModelError:
        return False
