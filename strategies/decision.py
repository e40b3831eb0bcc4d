"""One decision: market, forecast and what rests at the venue in, ladder and order actions out.

A pure function of `Inputs` and configuration: a backtest, a live trader and `cmm replay-journal` run
these very lines, so that a journal of the inputs proves what was done with them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from market.events import ASK, BID
from models.ensemble.predictor import Forecast
from strategies.differ import Differ, DifferConfig
from strategies.guard import ModelGuardConfig
from strategies.ladder import LadderBuilder, LadderConfig
from strategies.limits import LimitsConfig, RiskChecks, RiskState
from strategies.quoters import Quoter
from strategies.values import Action, Ladder, Market


class Inputs(NamedTuple):
    """What a decision is made of.

    `fault` is what the model guard found wrong with the forecast, '' where nothing; `paused` are the
    sides (bids, asks) that must not quote; `bids` and `asks` are (price in ticks, lots left) of the
    orders that may be touched, in the order that actions index them.
    """

    market: Market
    forecast: Forecast | None
    fault: str
    paused: tuple[bool, bool]
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]
    risk: RiskState


class Decision(NamedTuple):
    """Ladder wanted, actions to take, and which limits refused or cut how often."""

    ladder: Ladder
    actions: list[Action]
    refusals: dict[str, int]


class Decider:
    """Turns inputs into decisions. A decision's ladder is valid until the next one.

    Parameters
    ----------
    ladder, differ, limits, model : config
    quoter : Quoter
    turnover : callable
        What one lot at a price (ticks) moves, settlement currency.

    """

    def __init__(
        self,
        ladder: LadderConfig,
        differ: DifferConfig,
        limits: LimitsConfig,
        model: ModelGuardConfig,
        quoter: Quoter,
        turnover: Callable[[float], float] = float,
    ) -> None:
        self.quoter = quoter
        self.checks = RiskChecks(limits, turnover)
        self._builder, self._differ, self._model = LadderBuilder(ladder), Differ(differ), model

    def decide(self, inputs: Inputs) -> Decision:
        """Make one decision."""
        market, risk = inputs.market, inputs.risk
        ladder = self.ladder(inputs)
        tolerance = self._differ.tolerance(market.sigma_ticks)
        wanted = self._differ.side(BID, ladder.bids, inputs.bids, tolerance)
        wanted += self._differ.side(ASK, ladder.asks, inputs.asks, tolerance)
        if not wanted:
            return Decision(ladder, wanted, {})
        actions, refusals = self.checks.admit(wanted, risk, market.mid_ticks)
        return Decision(ladder, actions, dict(refusals))

    def ladder(self, inputs: Inputs) -> Ladder:
        """The ladder wanted: empty on paused sides, and on both where a fault pulls the quotes."""
        market, forecast, position = inputs.market, inputs.forecast, inputs.risk.position
        limit = self.checks.config.max_position_lots
        volume = 0.0
        if inputs.fault:
            if self._model.fallback == "pull":
                return Ladder(_NONE, _NONE)
            away = max(self._model.wide_ticks, self._model.wide_sigmas * market.sigma_ticks)
            bid, ask = market.mid_ticks - away, market.mid_ticks + away
        else:
            bid, ask = self.quoter.best(market, forecast, position, limit)
            volume = max(float(np.expm1(min(forecast.log_volume, 30.0))), 0.0) if forecast is not None else 0.0
        touch = (market.bid_ticks, market.ask_ticks)
        ladder = self._builder.build(bid, ask, touch, volume, limit - position, limit + position)
        if inputs.paused[0] or inputs.paused[1]:
            return Ladder(_NONE if inputs.paused[0] else ladder.bids, _NONE if inputs.paused[1] else ladder.asks)
        return ladder


_NONE = np.zeros((0, 2), np.int64)
