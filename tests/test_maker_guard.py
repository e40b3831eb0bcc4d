"""What the guard promises, as the maker keeps it: unknowns, silence of the venue, messages, money, fills, the model."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from engine.config import SHIPPED
from market.events import ASK, BID
from models.ensemble.predictor import Predictor
from strategies.guard import FillGuardConfig, GuardConfig, ModelGuardConfig, MoneyGuardConfig
from strategies.limits import AccountExposure, LimitsConfig
from strategies.trading_state import Reason
from tests.driven import Market, S


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Nautilus wants a strategy dropped on the thread that made it."""
    yield
    gc.collect()


def test_an_unknown_balance_lets_nothing_but_cancels_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    market = Market(monkeypatch)
    placed = len(market.orders)
    market.maker.know_account(AccountExposure("balance"))
    market.move(40)
    assert len(market.orders) == placed
    assert market.cancelled
    assert market.maker.counts["bound_unknown_balance"] > 0
    market.maker.know_account(AccountExposure())
    market.rest(0.2)
    assert len(market.orders) > placed


@pytest.mark.parametrize("unknown", ["others_gross", "others_net"])
def test_an_unknown_position_elsewhere_leaves_no_room(unknown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    market = Market(monkeypatch, limits=LimitsConfig(max_gross_notional=1e6, max_net_notional=1e6))
    placed = len(market.orders)
    market.maker.know_account(AccountExposure(**{unknown: float("nan")}))
    market.move(40)
    assert len(market.orders) == placed > 0


def test_a_command_without_an_answer_stops_trading(monkeypatch: pytest.MonkeyPatch) -> None:
    market = Market(monkeypatch, answer_s=3.0)
    market.is_answering = False
    market.move(40)
    asked = len(market.orders)
    market.rest(2.5)
    market.maker.check()
    assert market.maker.trading.halted == ""
    market.rest(0.7)
    market.maker.check()
    assert market.maker.trading.halted == "unanswered"
    market.is_answering = True
    market.rest(1.0)
    assert len(market.orders) == asked
    assert {o.key for o in market.maker.orders.working.all()} <= set(market.cancelled)


def test_an_unanswered_order_counts_against_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    market = Market(monkeypatch, limits=LimitsConfig(max_open_orders=8))
    market.is_answering = False
    for i in range(20):
        market.move(10 * i)
        assert market.maker.orders.working.exposure.orders <= 8
    assert market.maker.counts["bound_open_orders"] > 0


def test_messages_are_a_budget_that_cancels_overdraw(monkeypatch: pytest.MonkeyPatch) -> None:
    market = Market(monkeypatch, limits=LimitsConfig(max_messages_per_s=10))
    market.rest(2.0)
    before = len(market.orders)
    for i in range(20):  # two seconds in which every quote would move ten times a second
        market.move(40 * i)
    assert len(market.orders) - before <= 10 + 2 * 10
    assert market.maker.counts["bound_messages"] > 0
    market.show([(BID, 200_000, 1)])  # crossed: whatever is left of the budget, everything is cancelled
    assert market.resting() == 0


@pytest.mark.parametrize(
    ("money", "reason"),
    [(MoneyGuardConfig(loss_budget=1.0), "loss_budget"), (MoneyGuardConfig(max_drawdown=1.0), "drawdown")],
)
@pytest.mark.parametrize("by_timer", [False, True])
def test_a_money_limit_halts_for_good(
    money: MoneyGuardConfig, reason: str, by_timer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = Market(monkeypatch, guard=GuardConfig(money=money))
    market.fill(BID, lots=10)
    if by_timer:
        market.maker.pause_quoting(Reason.NO_MARK)  # nothing is quoted: the timer still looks
    market.move(-1_500)  # ten thousandths of a coin, 150 down
    if by_timer:
        assert market.maker.trading.halted == ""
        market.maker.check()
    assert (market.maker.trading.halted, market.resting()) == (reason, 0)
    placed = len(market.orders)
    market.move(0)
    market.rest(2.0)
    assert len(market.orders) == placed


def test_fills_on_one_side_pause_it_and_the_other_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    market = Market(monkeypatch, guard=GuardConfig(fills=FillGuardConfig(fills=3, within_s=1.0, pause_s=2.0)))
    for _ in range(3):
        market.fill(BID)
    assert (market.resting(BID), market.maker.counts["paused_side"]) == (0, 1)
    market.rest(1.5)
    assert market.resting(BID) == 0 < market.resting(ASK)
    market.rest(0.7)
    assert market.resting(BID) > 0


@pytest.mark.parametrize("fallback", ["pull", "wide"])
def test_features_outside_their_training_range_are_not_forecast_on(
    fallback: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = np.zeros(3, bool)
    monkeypatch.setattr(Predictor, "outside", lambda _: outside)
    model = ModelGuardConfig(max_outside=1, fallback=fallback, wide_ticks=30.0)
    market = Market(monkeypatch, predictor=Predictor(SHIPPED), guard=GuardConfig(model=model))
    market.maker.check()
    market.rest(0.2)
    assert (market.maker.model_fault, market.resting() > 0) == ("", True)
    outside[:] = True
    market.maker.check()
    market.rest(0.2)
    assert market.maker.model_fault == "out_of_range"
    assert market.maker.counts["model_out_of_range"] == 2
    prices = [o.price for o in market.maker.orders.working.all()]
    assert all(abs(price - 100_001) >= 29 for price in prices)
    assert bool(prices) == (fallback == "wide")
    outside[:] = False
    market.maker.check()
    market.rest(0.2)
    assert (market.maker.model_fault, market.resting() > 0) == ("", True)


@pytest.mark.parametrize(("is_live", "fault"), [(True, "deadline"), (False, "")])
def test_a_late_forecast_is_not_used_where_the_wall_clock_counts(
    is_live: bool, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = GuardConfig(model=ModelGuardConfig(deadline_ms=1e-6))
    market = Market(monkeypatch, predictor=Predictor(SHIPPED), guard=guard, is_live=is_live)
    assert (market.maker.model_fault, market.resting() == 0) == (fault, bool(fault))


def test_quotes_are_pulled_before_the_session_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = [(0, 1_010 * S), (1_020 * S, 1_100 * S)]
    market = Market(monkeypatch, sessions=sessions, stop_before_close_s=5.0)
    assert market.resting() > 0
    market.now = 1_005 * S
    market.maker.check()
    assert (market.resting(), market.maker.counts["pulled_session"]) == (0, 1)
    market.now = 1_019 * S
    market.rest(0.9)
    assert market.resting() == 0
    market.rest(2.0)
    assert market.resting() > 0
    market.now = 1_097 * S
    market.rest(0.2)
    assert (market.resting(), market.maker.counts["pulled_session"]) == (0, 2)
    market.now = 1_003 * S  # the clock is set back, into the first session
    market.rest(1.3)
    assert market.resting() > 0
