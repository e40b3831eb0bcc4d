"""Has the maker's compiled code ready before the first market event: compiled, or loaded from disk.

Without it the first decision would wait for it, while the market moves on: a third of a second where it lies on disk,
ten seconds where it has to be compiled.
"""

from __future__ import annotations

import numpy as np
from nautilus_trader.model import ClientOrderId

from market.array_book import BookState
from market.events import ASK, BID
from market.ledger import Ledger
from models.ensemble.predictor import Forecast
from models.features.book_features import BookFeatures, FeatureSpec
from strategies.decision import Decider, Inputs
from strategies.differ import DifferConfig
from strategies.guard import DataGuard, FillGuard, GuardConfig, MessageBudget, ModelGuard, MoneyGuard
from strategies.ladder import LadderConfig
from strategies.limits import LimitsConfig, RiskState
from strategies.order_table import State
from strategies.quoters import FoicQuoter, OffsetConfig
from strategies.quoting_hours import QuotingHours
from strategies.values import Market
from strategies.working import WorkingOrders

_BID, _ASK = 1_000, 1_002


def warm_up(spec: FeatureSpec, depth: int, guard: GuardConfig) -> None:
    """Go once through all that a maker with these features and this guard calls, on a market of its own."""
    _see(BookFeatures(spec, depth))
    _guard(guard)
    ledger = Ledger()
    ledger.on_fill(BID, _BID, 1, 0.0)
    ledger.new_day(float(_BID))
    ledger.pnl(float(_BID))
    working = _orders()
    decider = Decider(LadderConfig(), DifferConfig(), LimitsConfig(), guard.model, FoicQuoter(OffsetConfig()))
    resting = [(order.price, order.left) for order in working.touchable(BID)]
    exposure = working.exposure
    risk = RiskState(exposure.position, exposure.buys, exposure.sells, exposure.orders, working.standing())
    market = Market(_BID, _ASK, 1.0, spec.horizon_s, 0.0, 1)
    decider.decide(Inputs(market, None, "", (False, False), resting, [], risk))


def _see(features: BookFeatures) -> None:
    changes = np.array([(BID, _BID, 5), (ASK, _ASK, 5)], np.int64)
    for ts in (1, 2):
        features.on_book(ts, changes, len(changes), ts == 1)
        features.on_trade(ts, _BID, 1, 0)
    _ = features.bid_ticks, features.ask_ticks, features.trend_ticks(0), features.regime, features.sigma_ticks


def _guard(config: GuardConfig) -> None:
    data, fills, budget = DataGuard(config.data), FillGuard(config.fills), MessageBudget(1.0)
    data.on_book(1, 1, 1, True, BookState.SOUND)
    data.on_time(2)
    _ = data.needs_snapshot
    ModelGuard(config.model).fault(Forecast(0.0, 1.0, 0.0, 1.0), 0)
    MoneyGuard(config.money).check(0.0)
    fills.on_fill(BID, 1)
    fills.quoted(BID, _BID)
    fills.paused(2)
    budget.left(1)
    budget.spend(1)
    QuotingHours([(0, 2)], 0.0).contain(1)


def _orders() -> WorkingOrders:
    """One order that rests, after others that were amended, filled, cancelled."""
    working = WorkingOrders()
    for number, name in enumerate(("filled", "gone", "rests")):
        key = ClientOrderId(name)
        working.sent(key, BID, _BID - number, 3)
        working.accepted(key)
        working.get(key)
        working.asked(key, State.CHANGING, 1)
        working.put_back(key, State.RESTING)
        working.resized(key, 2)
    working.filled(ClientOrderId("filled"), 2)
    working.gone(ClientOrderId("gone"))
    working.unanswered(0)
    return working
