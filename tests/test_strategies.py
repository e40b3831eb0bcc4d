"""Ladders, quoters, differ, limits and working orders: formulas, and properties that must never fail."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.events import ASK, BID
from models.ensemble.predictor import Forecast
from strategies.differ import DifferConfig
from strategies.intensity import fit_intensity
from strategies.ladder import LadderConfig
from strategies.limits import LimitsConfig
from strategies.quoters import (
    AvellanedaStoikovQuoter,
    CmmConfig,
    CmmQuoter,
    FoicQuoter,
    GlftQuoter,
    LiicQuoter,
    LtiicQuoter,
    OffsetConfig,
)
from strategies.values import Action, Kind, Market
from strategies.working import WorkingOrders
from tests.rules import Differ, LadderBuilder, RiskChecks, risk_of

MARKET = Market(99, 101, 4.0, 5.0, 3.0, 1)


def test_ladder_is_a_pair_of_arithmetic_sequences() -> None:
    builder = LadderBuilder(LadderConfig(levels=3, price_step_ticks=2, size_lots=1, size_step_lots=2))
    ladder = builder.build(98.4, 101.6, (99, 101), 0.0, 100, 100)
    assert ladder.bids.tolist() == [[98, 1], [96, 3], [94, 5]]  # rounded away from the touch
    assert ladder.asks.tolist() == [[102, 1], [104, 3], [106, 5]]


def test_ladder_offers_a_share_of_the_forecast_volume() -> None:
    builder = LadderBuilder(LadderConfig(levels=2, size_lots=1, size_step_lots=1, volume_share=0.1))
    assert builder.build(99, 101, (99, 101), 300.0, 1000, 1000).bids[:, 1].tolist() == [10, 20]


def test_ladder_fits_into_the_room_and_a_full_side_is_dropped() -> None:
    builder = LadderBuilder(LadderConfig(levels=3, size_lots=2, size_step_lots=2))
    ladder = builder.build(99, 101, (99, 101), 0.0, 5, 0)
    assert ladder.bids[:, 1].tolist() == [2, 3]
    assert len(ladder.asks) == 0


@given(
    st.floats(-50, 50), st.floats(0.01, 30), st.integers(1, 5), st.integers(1, 4), st.integers(0, 30), st.integers(0, 30),
    st.floats(0, 1e4),
)  # fmt: skip
def test_ladder_never_crosses_and_never_exceeds_its_room(
    shift: float, half: float, levels: int, step: int, buy_room: int, sell_room: int, volume: float
) -> None:
    builder = LadderBuilder(LadderConfig(levels=levels, price_step_ticks=step, volume_share=0.5))
    bids, asks = builder.build(100 + shift - half, 100 + shift + half, (99, 101), volume, buy_room, sell_room)
    assert bids[:, 1].sum() <= buy_room
    assert asks[:, 1].sum() <= sell_room
    assert (bids[:, 0] < 101).all()
    assert (asks[:, 0] > 99).all()
    assert (bids[:, 1] > 0).all()
    assert (asks[:, 1] > 0).all()
    if len(bids) and len(asks):
        assert bids[0, 0] < asks[0, 0]


def test_cmm_quotes_around_forecast_inventory_and_costs() -> None:
    config = CmmConfig(alpha=1, skew=1, spread_share=1, sigma_share=0, floor_ticks=0.5, widen=0.5)
    sure = Forecast(2.0, 6.0, 0.0, 1.0)
    assert CmmQuoter(config, 0.0).best(MARKET, sure, 0, 10) == (99.0, 105.0)
    assert CmmQuoter(config, 0.0).best(MARKET, sure, 5, 10) == (97.0, 103.0)  # half the limit: half a sigma
    assert CmmQuoter(config, 8.0).best(MARKET, sure, 0, 10) == (94.0, 110.0)  # never inside the break-even
    unsure = Forecast(2.0, 6.0, 0.0, 0.5)
    bid, ask = CmmQuoter(config, 0.0).best(MARKET, unsure, 0, 10)
    assert ask - bid == pytest.approx(6 * 1.25)


def test_offset_baselines() -> None:
    config = OffsetConfig(offset_ticks=3, inventory_ticks=4, trend_weight=0.5)
    assert FoicQuoter(config).best(MARKET, None, 5, 10) == (97, 103)
    assert LiicQuoter(config).best(MARKET, None, 5, 10) == (95, 101)
    assert LtiicQuoter(config).best(MARKET, None, 5, 10) == (96.5, 102.5)


def test_avellaneda_stoikov_formula() -> None:
    gamma, k, remaining = 0.1, 0.5, 20.0
    bid, ask = AvellanedaStoikovQuoter(gamma, k, remaining).best(MARKET, None, 2, 10)
    variance = 4.0**2 / 5.0
    assert (bid + ask) / 2 == pytest.approx(100 - 2 * gamma * variance * remaining)
    assert ask - bid == pytest.approx(gamma * variance * remaining + 2 / gamma * math.log(1 + gamma / k))


def test_glft_formula() -> None:
    gamma, a, k = 0.1, 0.9, 0.3
    bid, ask = GlftQuoter(gamma, a, k).best(MARKET, None, 3, 10)
    root = math.sqrt(4.0**2 / 5.0 * gamma / (2 * k * a) * (1 + gamma / k) ** (1 + k / gamma))
    constant = math.log(1 + gamma / k) / gamma
    assert 100 - bid == pytest.approx(constant + (2 * 3 + 1) / 2 * root)
    assert ask - 100 == pytest.approx(constant - (2 * 3 - 1) / 2 * root)


def test_intensity_is_found_again() -> None:
    rng = np.random.default_rng(0)
    a, k = 1.5, 0.4
    steps = np.arange(0.5, 60, 0.5)
    reach = np.full(200_000, -1.0, np.float32)
    share = rng.random(len(reach))
    for delta in steps:  # P(reach ≥ δ) = 1 − exp(−A e^{−kδ})
        reach[share < 1 - np.exp(-a * np.exp(-k * delta))] = delta
    fitted = fit_intensity(reach)
    assert fitted == pytest.approx((a, k), rel=0.05)


def test_intensity_needs_trades() -> None:
    with pytest.raises(ValueError, match="too few distances"):
        fit_intensity(np.full(1000, -1.0, np.float32))


def side(wanted: list[tuple[int, int]], working: list[tuple[int, int]], tolerance: int = 0) -> list[Action]:
    return Differ(DifferConfig(size_tolerance=0.5)).side(
        BID, np.array(wanted, np.int64).reshape(-1, 2), working, tolerance
    )


def test_differ_keeps_what_rests() -> None:
    assert side([(100, 4), (99, 4)], [(100, 3), (99, 6)]) == []


def test_differ_replaces_wrong_prices_cancels_first() -> None:
    assert side([(101, 1), (100, 1)], [(100, 1), (99, 1)]) == [
        Action(Kind.CANCEL, BID, 99, 0, 1),
        Action(Kind.PLACE, BID, 101, 1, -1),
    ]


def test_differ_amends_down_and_replaces_what_is_too_small() -> None:
    assert side([(100, 2)], [(100, 9)]) == [Action(Kind.AMEND, BID, 100, 2, 0)]
    assert [a.kind for a in side([(100, 9)], [(100, 2)])] == [Kind.CANCEL, Kind.PLACE]


def test_differ_amends_to_the_level_that_the_order_was_matched_to() -> None:
    actions = side([(101, 1), (100, 5)], [(101, 1), (100, 20)], tolerance=1)
    assert actions == [Action(Kind.AMEND, BID, 100, 5, 1)]  # not to the size of the level next to it


def test_differ_tolerates_small_moves() -> None:
    assert side([(101, 1)], [(100, 1)], tolerance=1) == []  # too passive: it only fills less
    assert len(side([(100, 1)], [(101, 1)], tolerance=1)) == 2  # too aggressive: it would be picked off


ORDERS = st.lists(st.tuples(st.integers(90, 110), st.integers(1, 9)), max_size=6, unique_by=lambda o: o[0])


@given(ORDERS, ORDERS, st.integers(0, 3))
def test_differ_turns_working_orders_into_the_ladder(
    wanted: list[tuple[int, int]], working: list[tuple[int, int]], tolerance: int
) -> None:
    after = {i: list(order) for i, order in enumerate(working)}
    for action in side(wanted, working, tolerance):
        if action.kind == Kind.CANCEL:
            del after[action.order]
        elif action.kind == Kind.AMEND:
            after[action.order][1] = action.size
        else:
            after[-len(after) - 1] = [action.price, action.size]
    assert len(after) == len(wanted)
    for price, _ in after.values():
        assert any(abs(price - p) <= tolerance for p, _ in wanted)


EVENTS = st.lists(
    st.tuples(st.sampled_from(["quote", "fill", "gone", "cancel"]), st.integers(0, 30), st.integers(1, 9), st.booleans()),
    max_size=60,
)  # fmt: skip


@given(EVENTS, st.integers(1, 12))
def test_limits_hold_even_if_every_resting_order_fills_at_once(events: list[tuple], limit: int) -> None:
    orders, config, key = WorkingOrders(), LimitsConfig(max_position_lots=limit, max_open_orders=6), 0
    for kind, pick, size, buy in events:
        live = orders.all()
        if kind == "quote":
            side = BID if buy else ASK
            wanted = [Action(Kind.PLACE, side, 100 - i if buy else 101 + i, size, -1) for i in range(1 + pick % 4)]
            for action in RiskChecks(config).admit(wanted, risk_of(orders.exposure, orders.standing()), 100.0)[0]:
                key += 1
                orders.sent(key, action.side, action.price, action.size)
        elif live and kind == "fill":
            order = live[pick % len(live)]
            orders.filled(order.key, min(size, order.left))
        elif live and kind == "gone":
            orders.gone(live[pick % len(live)].key)
        e = orders.exposure
        assert e.position + e.buys <= limit
        assert -e.position + e.sells <= limit
        assert e.orders == len(orders) <= 6
        assert e.buys == sum(o.left for o in orders.all() if o.side == BID)


def test_limits_refuse_prices_beyond_the_collar() -> None:
    config = LimitsConfig(price_collar_bps=100)
    wanted = [Action(Kind.PLACE, BID, price, 1, -1) for price in (9_950, 9_800)]
    admitted, bound = RiskChecks(config).admit(wanted, risk_of(WorkingOrders().exposure), 10_000.0)
    assert [a.price for a in admitted] == [9_950]
    assert bound == {"collar_mid": 1}


def test_a_fill_that_arrives_after_its_cancel_was_sent_counts() -> None:
    orders = WorkingOrders()
    orders.sent("a", BID, 100, 5)
    orders.accepted("a")
    orders.filled("a", 2)
    orders.resized("a", 1)
    assert (orders.exposure.position, orders.exposure.buys) == (2, 1)
    orders.filled("a", 1)
    orders.gone("a")  # the cancel's answer, late
    assert (orders.exposure.position, orders.exposure.buys, len(orders)) == (3, 0, 0)
