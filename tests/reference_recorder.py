"""The dataset recorder as a strategy inside Nautilus, on the callbacks that trade: what the pass over columns is held to."""

from __future__ import annotations

from collections import Counter
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
from models.features.book_features import FeatureSpec
from models.features.dataset import DatasetHeader, DatasetWriter
from models.features.outcomes import Known, OutcomeTracker
from strategies.callbacks import guarded
from strategies.feature_stream import FeatureStream
from venues.recordings.catalog import Catalog, Day


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


def record(catalog: Catalog, day: Day, config: Config, path: Path) -> dict[str, int]:
    """Record a day into `path`; return the counts."""
    contract = catalog.contract(day)
    writer = DatasetWriter(path, DatasetHeader(day.instrument, str(day.date), config.features, day.sha256, day.depth))
    recorder = Recorder(Instrument(contract, day.depth), config.features, config.record.min_interval_ms, writer)
    stream_day(catalog, day, recorder, MakerTakerFeeModel(0, 0), balance=config.venue.starting_balance)  # type: ignore[arg-type]
    writer.close()
    return dict(recorder.counts)
