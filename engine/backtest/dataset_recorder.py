"""Records datasets by running the features inside the engine, on the same callbacks that trade."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from nautilus_trader.execution import MakerTakerFeeModel
from nautilus_trader.model import BookType, InstrumentId, OrderBookDeltas, StrategyId, TradeTick
from nautilus_trader.trading import Strategy, StrategyConfig
from numpy.typing import NDArray

from engine.backtest.nautilus_lane import stream_day
from engine.config import Config
from market.nautilus import Instrument
from models.errors import ModelError
from models.features.book_features import FeatureSpec
from models.features.dataset import DatasetHeader, DatasetWriter, read_header
from models.features.outcomes import Known, OutcomeTracker
from strategies.callbacks import guarded
from strategies.feature_stream import FeatureStream
from venues.recordings.catalog import Catalog, Day

type Progress = Callable[[dt.date, float], None]

_ZERO = Decimal(0)


class Recorder(Strategy):
    """A strategy that trades nothing: at each sampled book update it keeps the features, and the
    outcomes when their horizon has passed."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Recorder:
        recorder: Recorder = super().__new__(cls, StrategyConfig(strategy_id=StrategyId("REC-001")))  # type: ignore[call-arg]
        return recorder

    def __init__(
        self,
        instrument: Instrument,
        spec: FeatureSpec,
        min_interval_ms: float,
        writer: DatasetWriter,
        progress: Callable[[int], None] | None,
    ) -> None:
        super().__init__(StrategyConfig(strategy_id=StrategyId("REC-001")))
        self.failure: Exception | None = None
        self.counts: Counter[str] = Counter()
        self._id = InstrumentId.from_str(instrument.id)
        self._feed = FeatureStream(instrument, spec)
        self._tracker: OutcomeTracker[tuple[NDArray[np.float32], int]] = OutcomeTracker(
            spec.horizon_s, spec.max_gap_s, round(min_interval_ms * 1e6)
        )
        self._writer = writer
        self._progress = progress

    @guarded
    def on_start(self) -> None:
        self.subscribe_book_deltas(self._id, BookType.L2_MBP)
        self.subscribe_trades(self._id)

    @guarded
    def on_trade(self, trade: TradeTick) -> None:
        price, lots, aggressor = self._feed.on_trade(trade)
        self._take(self._tracker.on_trade(trade.ts_init, price, lots, aggressor))

    @guarded
    def on_book_deltas(self, deltas: OrderBookDeltas) -> None:
        ts = deltas.ts_init
        ready = self._feed.on_deltas(deltas)
        f = self._feed.features
        self._take(self._tracker.on_book(ts, f.bid_ticks, f.ask_ticks, sound=f.is_sound))
        self.counts["book_updates"] += 1
        if ready and self._tracker.is_due(ts):
            self._tracker.sample(ts, (f.vector.copy(), f.regime))
        if self._progress is not None and self.counts["book_updates"] % 1024 == 0:
            self._progress(ts)

    @guarded
    def on_stop(self) -> None:
        self._take(self._tracker.close())

    def fail(self, error: Exception) -> None:
        """Remember the first failure and stop; the runner raises it again."""
        self.failure = error
        self.stop()

    def _take(self, known: list[Known[tuple[NDArray[np.float32], int]]]) -> None:
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
    contract = catalog.contract(day)
    header = DatasetHeader(day.instrument, str(day.date), config.features, day.sha256, day.depth)
    writer = DatasetWriter(path, header)
    span = max(day.end_ns - day.start_ns, 1)
    tick = (lambda ts: progress(day.date, (ts - day.start_ns) / span)) if progress else None
    recorder = Recorder(Instrument(contract, day.depth), config.features, config.record.min_interval_ms, writer, tick)
    try:
        stream_day(catalog, day, recorder, MakerTakerFeeModel(_ZERO, _ZERO), balance=config.venue.starting_balance)
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
