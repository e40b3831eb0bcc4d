"""The guard without an engine: limits before each action, data, model, money, repeated fills."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.array_book import BookState
from market.events import ASK, BID
from market.ledger import Ledger
from market.valuation import Valuation
from models.ensemble.predictor import Forecast
from strategies.decision import Decider, Inputs
from strategies.differ import DifferConfig
from strategies.guard import (
    DataGuard,
    DataGuardConfig,
    FillGuard,
    FillGuardConfig,
    MessageBudget,
    ModelGuard,
    ModelGuardConfig,
    MoneyGuard,
    MoneyGuardConfig,
)
from strategies.ladder import LadderConfig
from strategies.limits import LimitsConfig, RiskState
from strategies.quoters import CmmConfig, CmmQuoter
from strategies.values import Action, Kind, Market
from tests.rules import RiskChecks, RollingMinimum

S = 10**9
MID = 10_000.0
EMPTY = RiskState(0, 0, 0, 0, ())
SOUND = BookState.SOUND
SURE = Forecast(0.0, 2.0, 3.0, 0.9)


def place(side: int, price: int, size: int = 1) -> Action:
    return Action(Kind.PLACE, side, price, size, -1)


# ── before each action ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("limits", "standing", "action", "bound", "size"),
    [
        ({"price_collar_bps": 50}, EMPTY, place(BID, 9_940), "collar_mid", 0),
        ({"last_collar_bps": 50}, EMPTY._replace(last=10_100), place(BID, 9_990), "collar_last", 0),
        ({"last_collar_bps": 50}, EMPTY._replace(last=0), place(BID, 9_990), None, 1),
        ({"max_order_lots": 3}, EMPTY, place(BID, 9_999, 5), "order_size", 3),
        ({"max_ladder_lots": 4}, EMPTY._replace(buys=3, open_orders=1), place(BID, 9_999, 3), "ladder_size", 1),
        ({"max_order_notional": 25_000.0}, EMPTY, place(BID, 9_999, 5), "order_notional", 2),
        ({"max_position_lots": 10}, EMPTY._replace(position=6, buys=2), place(BID, 9_999, 5), "position", 2),
        ({"max_position_lots": 10}, EMPTY._replace(position=6, buys=2), place(ASK, 10_001, 5), None, 5),
        ({"max_gross_notional": 50_000.0}, EMPTY._replace(others_gross=30_000.0), place(ASK, 10_001, 5), "gross_notional", 2),
        ({"max_gross_notional": 50_000.0}, EMPTY._replace(others_gross=math.nan), place(ASK, 10_001), "gross_notional", 0),
        ({"max_net_notional": 50_000.0}, EMPTY._replace(others_net=40_000.0), place(BID, 9_999, 5), "net_notional", 1),
        ({"max_net_notional": 50_000.0}, EMPTY._replace(others_net=40_000.0), place(ASK, 10_001, 5), None, 5),
        ({"max_net_notional": 50_000.0}, EMPTY._replace(others_net=math.nan), place(ASK, 10_001), "net_notional", 0),
        ({"max_open_orders": 2}, EMPTY._replace(open_orders=2), place(BID, 9_999), "open_orders", 0),
        ({}, EMPTY._replace(messages=0.5), place(BID, 9_999), "messages", 0),
        ({}, EMPTY._replace(messages=0.5), Action(Kind.AMEND, BID, 9_999, 1, 0), "messages", 0),
        ({}, EMPTY._replace(messages=-9.0), Action(Kind.CANCEL, BID, 9_999, 0, 0), None, 0),
        ({}, EMPTY._replace(unknown="mark"), place(BID, 9_999), "unknown_mark", 0),
        ({}, EMPTY._replace(unknown="balance"), Action(Kind.CANCEL, BID, 9_999, 0, 0), None, 0),
        ({}, EMPTY._replace(orders=((BID, 9_999, True),)), place(BID, 9_999), "duplicate", 0),
        ({}, EMPTY._replace(orders=((ASK, 10_001, False),)), place(BID, 10_001), "self_trade", 0),
        ({}, EMPTY._replace(orders=((BID, 9_999, False),)), place(ASK, 9_998), "self_trade", 0),
    ],
)  # fmt: skip
def test_each_limit_binds(limits: dict, standing: RiskState, action: Action, bound: str | None, size: int) -> None:
    admitted, why = RiskChecks(LimitsConfig(**{"price_collar_bps": 200.0} | limits)).admit([action], standing, MID)
    assert dict(why) == ({bound: 1} if bound else {})
    assert [a.size for a in admitted] == ([size] if size or action.kind == Kind.CANCEL else [])


def test_a_batch_is_checked_as_a_whole() -> None:
    """What is let through counts for what follows: crossing, duplicates, room, messages."""
    gate = RiskChecks(LimitsConfig(max_position_lots=3, max_order_lots=3))
    batch = [place(BID, 9_999, 2), place(BID, 9_998, 2), place(ASK, 9_999, 1), place(BID, 9_999, 1)]
    admitted, why = gate.admit(batch, EMPTY, MID)
    assert [(a.price, a.size) for a in admitted] == [(9_999, 2), (9_998, 1)]
    assert why == {"position": 1, "self_trade": 1, "duplicate": 1}
    assert gate.admit([place(BID, 9_999), place(BID, 9_998)], EMPTY._replace(messages=1.5), MID)[1] == {"messages": 1}


ACTIONS = st.lists(
    st.builds(place, st.sampled_from([BID, ASK]), st.integers(9_900, 10_100), st.integers(1, 9)), max_size=12
)


@given(ACTIONS, st.integers(-8, 8), st.integers(0, 9), st.integers(0, 9), st.floats(0, 9), st.floats(-2e5, 2e5))
def test_no_batch_breaks_a_limit(
    actions: list[Action], position: int, buys: int, sells: int, messages: float, net: float
) -> None:
    c = LimitsConfig(
        max_position_lots=9, max_order_lots=4, max_open_orders=5, max_gross_notional=3e5, max_net_notional=1.5e5
    )
    standing = EMPTY._replace(
        position=position, buys=buys, sells=sells, messages=messages, others_net=net, others_gross=abs(net)
    )
    admitted, _ = RiskChecks(c).admit(actions, standing, MID)
    bought = sum(a.size for a in admitted if a.side == BID)
    sold = sum(a.size for a in admitted if a.side == ASK)
    assert not bought or position + buys + bought <= 9
    assert not sold or -position + sells + sold <= 9
    assert len(admitted) <= min(5, messages)
    assert all(0 < a.size <= 4 for a in admitted)
    if admitted:
        assert abs(net) + (abs(position) + buys + sells + bought + sold) * MID <= 3e5 + 1
    assert not bought or net + (position + buys + bought) * MID <= 1.5e5 + 1
    assert not sold or -net + (-position + sells + sold) * MID <= 1.5e5 + 1
    assert max((a.price for a in admitted if a.side == BID), default=0) < min(
        (a.price for a in admitted if a.side == ASK), default=10**9
    )


def test_message_budget_is_a_bucket_of_one_second() -> None:
    budget = MessageBudget(10)
    assert budget.left(5 * S) == 10
    budget.spend(14)  # cancels overdraw it
    assert budget.left(5 * S) == -4
    assert budget.left(5 * S + S // 2) == pytest.approx(1)
    assert budget.left(60 * S) == 10
    assert MessageBudget(None).left(0) == math.inf


# ── data ──────────────────────────────────────────────────────────────────────────────────────


def healthy(guard: DataGuard, start: int, until: int) -> list[str]:
    return [guard.on_book(ts, ts - 1000, 0, False, SOUND) for ts in range(start, until, S // 10)]


@pytest.mark.parametrize(
    ("state", "problem"),
    [(BookState.ONE_SIDED, "one_sided"), (BookState.CROSSED, "crossed"), (BookState.EMPTY, "empty")],
)
def test_quoting_resumes_only_after_the_book_was_well_for_a_while(state: BookState, problem: str) -> None:
    guard = DataGuard(DataGuardConfig(healthy_s=1))
    assert set(healthy(guard, S, 2 * S)) == {""}
    assert guard.on_book(2 * S, 2 * S - 1000, 0, False, state) == problem
    after = healthy(guard, 2 * S + 1, 4 * S)
    assert after[:10] == ["recovering"] * 10
    assert set(after[11:]) == {""}


def test_a_feed_that_lags_is_not_quoted_on() -> None:
    """Lag is against the fastest update of a window: clocks differ by a constant that nobody knows."""
    guard = DataGuard(DataGuardConfig(max_lag_ms=100, healthy_s=0))
    assert guard.on_book(S, S + 500_000_000, 0, False, SOUND) == ""  # our clock is behind
    assert guard.on_book(2 * S, 2 * S + 450_000_000, 0, False, SOUND) == ""
    assert guard.on_book(3 * S, 3 * S + 300_000_000, 0, False, SOUND) == "lagging"
    assert guard.lag_ns == 200_000_000
    assert guard.on_book(4 * S, 4 * S + 490_000_000, 0, False, SOUND) == ""


def lags(guard: DataGuard, values_ms: list[float], step_s: float = 0.5, start_s: float = 100.0) -> list[str]:
    """What is held against updates that come so late."""
    found = []
    for i, late in enumerate(values_ms):
        ts = round((start_s + i * step_s) * S)
        found.append(guard.on_book(ts, ts - round(late * 1e6), 0, False, SOUND))
    return found


def test_one_early_stamp_costs_a_window_and_not_the_day() -> None:
    guard = DataGuard(DataGuardConfig(max_lag_ms=100, healthy_s=1, lag_window_s=10))
    assert set(lags(guard, [20.0] * 20)) == {""}
    after = lags(guard, [-5_000.0, *[20.0] * 60], start_s=110.0)
    assert after[0] == ""  # the early one itself came in time
    assert set(after[1:21]) == {"lagging"}
    assert after[21:23] == ["recovering"] * 2
    assert set(after[23:]) == {""}


def test_a_lag_is_caught_however_old_the_feed_is() -> None:
    guard = DataGuard(DataGuardConfig(max_lag_ms=100, healthy_s=0, lag_window_s=10))
    assert set(lags(guard, [20.0, 35.0, 25.0] * 100)) == {""}
    assert set(lags(guard, [400.0] * 10, start_s=250.0)) == {"lagging"}
    assert set(lags(guard, [20.0] * 4, start_s=255.0)) == {""}


@pytest.mark.parametrize("step_ms", [3_600_000.0, -3_600_000.0])
def test_a_clock_that_was_set_costs_a_window_at_most(step_ms: float) -> None:
    """Ours or the venue's: the lag jumps for good."""
    guard = DataGuard(DataGuardConfig(max_lag_ms=100, healthy_s=1, lag_window_s=10))
    lags(guard, [20.0] * 40)
    after = lags(guard, [20.0 + step_ms] * 60, start_s=120.0)  # the venue's clock
    assert set(after[24:]) == {""}
    ours = lags(guard, [20.0 + step_ms] * 60, start_s=150.0 + 1e-3 * step_ms + 1e4)
    assert set(ours[24:]) == {""}


def test_our_clock_set_back_holds_nothing_for_as_long() -> None:
    guard = DataGuard(DataGuardConfig(stale_s=2, healthy_s=1))
    healthy(guard, 7200 * S, 7201 * S)
    guard.on_book(7201 * S, 7201 * S, 0, False, BookState.CROSSED)
    healthy(guard, 7201 * S + 1, 7201 * S + S // 2)
    assert healthy(guard, 3600 * S, 3602 * S)[-1] == ""
    assert guard.on_time(3606 * S) == "stale"
    assert guard.on_time(100 * S) == ""
    assert guard.on_time(103 * S) == "stale"  # silence from then on
    budget = MessageBudget(10)
    budget.left(7200 * S)
    budget.spend(10)
    assert budget.left(3600 * S) == 0
    assert budget.left(3601 * S) == 10
    fills = FillGuard(FillGuardConfig(fills=1, within_s=1, pause_s=5))
    fills.on_fill(BID, 7200 * S)
    assert fills.paused(7201 * S) == (True, False)
    assert fills.paused(3600 * S) == (False, False)


def test_a_book_that_stays_crossed_has_lost_a_message() -> None:
    guard = DataGuard(DataGuardConfig())
    for i in range(30):
        guard.on_book(S + i * S // 10, S, 0, False, BookState.CROSSED)
        assert guard.needs_snapshot == (i > 20)
    guard.on_book(5 * S, S, 0, True, SOUND)
    assert not guard.needs_snapshot


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-50, 50)), min_size=1, max_size=60))
def test_a_rolling_minimum_is_the_minimum_of_its_window(steps: list[tuple[int, int]]) -> None:
    rolling, seen, now = RollingMinimum(12), [], 0
    for step, value in steps:
        now += step
        seen.append((now, value))
        assert rolling.add(now, value) == min(v for ts, v in seen if ts >= now - 12)


def test_silence_is_stale() -> None:
    guard = DataGuard(DataGuardConfig(stale_s=2, healthy_s=1))
    guard.on_book(10 * S, 10 * S, 0, False, SOUND)
    assert guard.on_time(11 * S) == ""
    assert guard.on_time(13 * S) == "stale"
    assert guard.on_book(14 * S, 14 * S, 0, False, SOUND) == "recovering"
    assert guard.on_book(15 * S, 15 * S, 0, False, SOUND) == ""


@pytest.mark.parametrize(
    ("mode", "numbers", "problems"),
    [
        ("contiguous", [1, 2, 3], ["", "", ""]),
        ("contiguous", [1, 2, 2, 3], ["", "", "", ""]),
        ("contiguous", [1, 2, 4, 5], ["", "", "gap", "gap"]),
        ("contiguous", [5, 4], ["", "gap"]),
        ("rising", [1, 5, 9], ["", "", ""]),
        ("rising", [1, 5, 4, 6], ["", "", "gap", "gap"]),
        ("ignore", [9, 1, 7], ["", "", ""]),
    ],
)
def test_a_gap_lasts_until_a_snapshot(mode: str, numbers: list[int], problems: list[str]) -> None:
    guard = DataGuard(DataGuardConfig(sequence=mode, healthy_s=0))  # type: ignore[arg-type]
    assert [guard.on_book(i, i, n, False, SOUND) for i, n in enumerate(numbers)] == problems
    assert guard.needs_snapshot == ("gap" in problems)
    assert guard.on_book(99, 99, 1, True, SOUND) == ""
    assert not guard.needs_snapshot


# ── model ─────────────────────────────────────────────────────────────────────────────────────


def test_what_is_wrong_with_a_forecast() -> None:
    guard = ModelGuard(ModelGuardConfig(min_confidence=0.5, max_outside=3, deadline_ms=1))
    assert guard.fault(SURE, 900_000) == ""
    assert guard.fault(None, 0) == "not_finite"
    assert guard.fault(SURE, 1_100_000) == "deadline"
    assert guard.fault(SURE._replace(confidence=0.4), 0) == "confidence"
    assert guard.fault(SURE._replace(confidence=math.nan), 0) == "confidence"
    guard.range_checked(4)
    assert guard.fault(SURE, 0) == "out_of_range"
    guard.range_checked(3)
    assert guard.fault(SURE, 0) == ""
    guard.broken = "artifact_changed"
    assert guard.fault(SURE, 0) == "artifact_changed"


def decide(fallback: str, fault: str, paused: tuple[bool, bool] = (False, False)) -> tuple[list, list, list[Action]]:
    model = ModelGuardConfig(fallback=fallback, wide_ticks=10, wide_sigmas=3)  # type: ignore[arg-type]
    decider = Decider(LadderConfig(levels=2), DifferConfig(), LimitsConfig(), model, CmmQuoter(CmmConfig(), 0.0))
    market = Market(9_999, 10_001, 4.0, 5.0, 0.0, 1)
    forecast = None if fault == "not_finite" else SURE
    decision = decider.decide(Inputs(market, forecast, fault, paused, [(9_998, 1)], [(10_002, 1)], EMPTY))
    return decision.ladder.bids.tolist(), decision.ladder.asks.tolist(), decision.actions


def test_a_faulty_forecast_pulls_or_quotes_wide() -> None:
    bids, asks, actions = decide("pull", "not_finite")
    assert bids == asks == []
    assert [a.kind for a in actions] == [Kind.CANCEL, Kind.CANCEL]
    bids, asks, _ = decide("wide", "not_finite")
    assert (bids[0][0], asks[0][0]) == (9_988, 10_012)  # three sigmas


def test_a_paused_side_is_pulled_and_the_other_stays() -> None:
    bids, asks, actions = decide("pull", "", (True, False))
    assert bids == []
    assert len(asks) == 2
    assert Action(Kind.CANCEL, BID, 9_998, 0, 0) in actions
    assert all(a.side == ASK for a in actions if a.kind == Kind.PLACE)


# ── money and fills ───────────────────────────────────────────────────────────────────────────


def test_loss_budget_and_drawdown() -> None:
    guard = MoneyGuard(MoneyGuardConfig(loss_budget=100, max_drawdown=60))
    assert guard.check(0) == ""
    assert guard.check(50) == ""
    assert guard.check(-5) == ""
    assert guard.warns  # 55 of 60 below the highest
    assert guard.check(-10) == "drawdown"
    assert MoneyGuard(MoneyGuardConfig(loss_budget=100)).check(-100) == "loss_budget"
    assert guard.check(math.nan) == "unknown_pnl"
    assert MoneyGuard(MoneyGuardConfig()).check(-1e9) == ""
    assert MoneyGuard(MoneyGuardConfig(max_drawdown=60), peak=200).check(150) == ""  # after a restart
    assert MoneyGuard(MoneyGuardConfig(max_drawdown=60), peak=200).check(140) == "drawdown"


def test_ledger_counts_a_day() -> None:
    ledger = Ledger(Valuation(2.0), position=3, flow=-100.0)
    ledger.new_day(50.0)
    assert ledger.pnl(50.0) == 0
    ledger.on_fill(ASK, 52, 3, 1.5)
    assert (ledger.position, ledger.pnl(99.0)) == (0, 3 * 2 * 2 - 1.5)


def test_repeated_fills_pause_their_side() -> None:
    guard = FillGuard(FillGuardConfig(fills=3, within_s=1, pause_s=5))
    guard.quoted(BID, 100)
    assert [guard.on_fill(BID, t) for t in (0, S // 4)] == [False, False]
    assert not guard.on_fill(ASK, S // 3)
    assert guard.on_fill(BID, S // 2)
    assert guard.paused(S) == (True, False)
    assert guard.paused(6 * S) == (False, False)


def test_fills_count_anew_where_the_quote_moved_or_time_went_by() -> None:
    guard = FillGuard(FillGuardConfig(fills=2, within_s=1, pause_s=5))
    guard.quoted(BID, 100)
    guard.on_fill(BID, 0)
    guard.quoted(BID, 100)
    assert guard.on_fill(BID, S // 2)
    guard.on_fill(BID, 10 * S)
    guard.quoted(BID, 99)
    assert not guard.on_fill(BID, 10 * S + 1)
    assert not guard.on_fill(BID, 12 * S)
    assert not FillGuard(FillGuardConfig()).on_fill(BID, 0)
