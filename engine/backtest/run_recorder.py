"""The run recorder: what the maker saw and did, update by update, in compact columns."""

from __future__ import annotations

from array import array
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engine.backtest.run_record import Fill
from models.ensemble.predictor import Forecast
from strategies.observer import Observer, OwnFill
from strategies.trading_state import Reason
from strategies.values import Action, Kind, Ladder, Market


class RunRecorder(Observer):
    """Records a run."""

    def __init__(self, progress: Callable[[int], None] | None = None) -> None:
        self.fills: list[Fill] = []
        self.halted: list[str] = []
        self.actions = [0, 0, 0]
        self.placed_lots = 0
        self._ts = array("q")
        self._ints = array("q")  # bid, ask, own bid, own ask; 0 for none
        self._floats = array("f")  # forecast mid change, spread, log volume, confidence; NaN for none
        self._decisions = array("q")
        self._progress = progress

    def on_update(
        self, ts_ns: int, market: Market, position: int, forecast: Forecast | None, ladder: Ladder | None
    ) -> None:
        own_bid = int(ladder.bids[0, 0]) if ladder is not None and len(ladder.bids) else 0
        own_ask = int(ladder.asks[0, 0]) if ladder is not None and len(ladder.asks) else 0
        self._ts.append(ts_ns)
        self._ints.extend((market.bid_ticks, market.ask_ticks, own_bid, own_ask))
        self._floats.extend(forecast if forecast is not None else _NO_FORECAST)
        if self._progress is not None and len(self._ts) % 1024 == 0:
            self._progress(ts_ns)

    def on_halt(self, reason: Reason) -> None:
        self.halted.append(reason)

    def on_fill(self, fill: OwnFill) -> None:
        self.fills.append(Fill(*fill[:6], float(fill.commission)))

    def on_actions(self, ts_ns: int, actions: list[Action]) -> None:
        for action in actions:
            self.actions[action.kind] += 1
            if action.kind == Kind.PLACE:
                self.placed_lots += action.size

    def on_decision_time(self, wall_ns: int) -> None:
        self._decisions.append(wall_ns)

    @property
    def decision_ns(self) -> NDArray[np.int64]:
        """Time that each decision took on this machine (decisions,); no part of a result."""
        return np.frombuffer(self._decisions, np.int64) if self._decisions else np.zeros(0, np.int64)

    @property
    def ts_ns(self) -> NDArray[np.int64]:
        """Times of the updates (updates,)."""
        return np.frombuffer(self._ts, np.int64) if self._ts else np.zeros(0, np.int64)

    @property
    def _columns(self) -> NDArray[np.int64]:
        return np.frombuffer(self._ints, np.int64).reshape(-1, 4) if self._ints else np.zeros((0, 4), np.int64)

    @property
    def touch(self) -> NDArray[np.int64]:
        """(updates, 2): best bid and ask, ticks."""
        return self._columns[:, :2]

    @property
    def own(self) -> NDArray[np.int64]:
        """(updates, 2): own best bid and ask wanted, ticks, 0 for none."""
        return self._columns[:, 2:]

    def quotes(self, updates: NDArray[np.int64]) -> NDArray[np.int64]:
        """(len(updates), 4): touch and own of some updates."""
        return self._columns[updates]

    @property
    def forecasts(self) -> NDArray[np.float32]:
        """(updates, 4): mid change in ticks, spread in ticks, log1p volume, confidence; NaN for none."""
        return np.frombuffer(self._floats, np.float32).reshape(-1, 4) if self._floats else np.zeros((0, 4), np.float32)

    @property
    def mid_forecasts(self) -> NDArray[np.float32]:
        """The first column of `forecasts`, as an array of its own (updates,)."""
        return self.forecasts[:, 0].copy()

    @property
    def mids(self) -> NDArray[np.float64]:
        """Mid price in ticks (updates,)."""
        return self.touch.sum(1) / 2.0

    @property
    def last_mid(self) -> float:
        """Mid price of the last sound update, ticks; 0 before the first."""
        return 0.5 * (self._ints[-4] + self._ints[-3]) if self._ts else 0.0


_NO_FORECAST = (float("nan"),) * 4
