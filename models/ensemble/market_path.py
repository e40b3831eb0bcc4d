"""What a maker reads of features and model, update by update, for a whole recording at once.

None of it depends on orders of ours, so that it is computed once and used by every run over the same recording. It is
to the bit what `BookFeatures` and `Predictor` give to a maker that lives through the recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from market.columns import BOOK, TRADE, Columns
from models.ensemble.predictor import Forecast, Predictor
from models.ensemble.recalibrate import Recalibrator
from models.features.book_features import FeatureSpec, sigma_ticks
from models.features.market_pass import Block, MarketPass

_FORECAST = len(Forecast._fields)


class MarketPath(NamedTuple):
    """After each of b book updates, in order of arrival.

    Parameters
    ----------
    ready : (b,) bool
        The features count: two sides, not crossed, warmed up.
    sigma_ticks, trend_ticks : (b,) float64
        As `BookFeatures` says them. After an unsound book sigma is what it was, and the trend means nothing.
    regime : (b,) int8
    outside : (b,) int16
        Features outside their training range; 0 without a predictor.
    forecasts : (b, 4) float32
        Fields of `Forecast`; NaN where not ready, not finite, or without a predictor.

    """

    ready: NDArray[np.bool_]
    sigma_ticks: NDArray[np.float64]
    trend_ticks: NDArray[np.float64]
    regime: NDArray[np.int8]
    outside: NDArray[np.int16]
    forecasts: NDArray[np.float32]


class Lessons(NamedTuple):
    """Where a recalibrating maker learns from its forecasts: which of them it makes and may use.

    Parameters
    ----------
    usable : (b,) bool
        Book updates at which the maker forecasts and nothing but the forecast itself could keep it from using it: in
        a session and not too close to its end, data well, book sound and ready, features within their range.
    min_confidence : float
        A forecast below it is not used.

    """

    usable: NDArray[np.bool_]
    min_confidence: float


class Walk:
    """Goes through a recording and says the market's path in blocks.

    Parameters
    ----------
    columns : Columns
    spec : FeatureSpec
    depth : int
        Levels a side that the feed shows, 0 for the whole book.
    predictor : Predictor, optional
        Where one recalibrates, it goes on from what it has learnt and holds at the end what it learns here.
    lessons : Lessons, optional
        For a predictor that recalibrates.

    """

    def __init__(
        self,
        columns: Columns,
        spec: FeatureSpec,
        depth: int,
        predictor: Predictor | None = None,
        lessons: Lessons | None = None,
    ) -> None:
        self._columns, self._predictor, self._lessons = columns, predictor, lessons
        self._pass = MarketPass(spec, depth)
        self._seen = 0  # events that the recalibrator has seen
        self._done = 0  # book updates before the block

    def __iter__(self) -> Iterator[MarketPath]:
        recalibrator = self._predictor.recalibrator if self._predictor is not None else None
        if recalibrator is not None:
            if self._lessons is None:
                raise ValueError("a predictor that recalibrates must be told where it learns")
            recalibrator.start()
        for block in self._pass.blocks(self._columns):
            yield self._path(block, recalibrator)
            self._done += len(block.event)
        if recalibrator is not None:
            self._tell_trades(recalibrator, len(self._columns.kind))

    def _path(self, block: Block, recalibrator: Recalibrator | None) -> MarketPath:
        n, predictor = len(block.event), self._predictor
        forecasts = np.full((n, _FORECAST), np.nan, np.float32)
        outside = predictor.outside_rows(block.vector) if predictor is not None else np.zeros(n, np.int16)
        if predictor is not None:
            stops = self._learn(block, predictor, recalibrator, forecasts) if recalibrator is not None else 0
            _forecast(predictor, block, forecasts, stops, n)
        return MarketPath(
            block.ready.copy(), sigma_ticks(block.vector), block.trend.copy(), block.regime.copy(), outside, forecasts
        )

    def _learn(
        self, block: Block, predictor: Predictor, recalibrator: Recalibrator, forecasts: NDArray[np.float32]
    ) -> int:
        """Live through the block as a maker does; forecast up to the last refit, and return where it lies."""
        assert self._lessons is not None
        ts, done = self._columns.ts, 0
        usable = self._lessons.usable[self._done : self._done + len(block.event)]
        for i, event in enumerate(block.event.tolist()):
            self._tell_trades(recalibrator, event)
            now = int(ts[event])
            if recalibrator.refits_at(now):
                _forecast(predictor, block, forecasts, done, i)
                done = i
            recalibrator.on_book(now, int(block.bid[i]), int(block.ask[i]), bool(block.sound[i]))
            if block.ready[i] and usable[i] and recalibrator.is_due(now):
                predictor.features[0] = block.vector[i]
                forecast = predictor.predict()
                if forecast is not None and forecast.confidence >= self._lessons.min_confidence:
                    predictor.remember(now, int(block.regime[i]))
        return done

    def _tell_trades(self, recalibrator: Recalibrator, until: int) -> None:
        """Give the recalibrator the trades before an event."""
        c = self._columns
        for event in range(self._seen, until):
            if c.kind[event] == TRADE:
                row = int(c.first[event])
                recalibrator.on_trade(int(c.ts[event]), int(c.price[row]), int(c.size[row]), int(c.side[row]))
        self._seen = until + 1


def _forecast(predictor: Predictor, block: Block, forecasts: NDArray[np.float32], start: int, stop: int) -> None:
    """Forecast the updates from `start` to `stop` whose features count."""
    rows = start + np.flatnonzero(block.ready[start:stop])
    forecasts[rows] = predictor.predict_rows(block.vector[rows])


def blank(updates: int) -> MarketPath:
    """Room for so many book updates."""
    return MarketPath(
        np.zeros(updates, np.bool_),
        np.zeros(updates, np.float64),
        np.zeros(updates, np.float64),
        np.zeros(updates, np.int8),
        np.zeros(updates, np.int16),
        np.zeros((updates, _FORECAST), np.float32),
    )


def updates_in(columns: Columns) -> int:
    """Book updates of a recording."""
    return int(np.count_nonzero(np.asarray(columns.kind) == BOOK))
