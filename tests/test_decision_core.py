"""The compiled decision against its slow reference, to the bit: any market, orders, limits and fallback."""

from __future__ import annotations

import itertools
import math
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.config.trading import StrategyConfig
from market.events import ASK, BID
from market.valuation import Valuation
from models.ensemble.predictor import Forecast
from strategies.decision import Decider, Inputs
from strategies.differ import DifferConfig
from strategies.guard import ModelGuardConfig
from strategies.ladder import LadderConfig
from strategies.limits import LimitsConfig, RiskState
from strategies.quoters import (
    AvellanedaStoikovQuoter,
    CmmConfig,
    CmmQuoter,
    FoicQuoter,
    GlftQuoter,
    LiicQuoter,
    LtiicQuoter,
    OffsetConfig,
    Quoter,
)
from strategies.values import Action, Kind, Market
from tests import reference_decision as reference
from tests.rules import RiskChecks

OFTEN = settings(max_examples=1_000, deadline=None)
THOROUGH = settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow], deadline=None)
VALUES = st.sampled_from(
    [Valuation(), Valuation(0.1), Valuation(0.1), Valuation(60.0), Valuation(0.0), Valuation(1e5 / 3, inverse=True)]
)
SIDES = st.sampled_from([BID, ASK])
FINITE = st.floats(-50, 50)
UNITS = st.integers(-40, 40).map(lambda lots: lots * (0.1 * 7))
"""Money that buys whole lots, but for the last bit, at a mid of 7 and a tenth a tick: where order of rounding shows."""

COLLARS = st.sampled_from([1e9, 1e9, 1e4, 150.0, 1.0])


def maybe[T](some: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    return st.none() | some


@st.composite
def markets(draw: st.DrawFn, *, positive: bool = False) -> Market:
    bid = draw(st.integers(1 if positive else -300, 300) | st.integers(9_000, 9_010))
    spread = draw(st.integers(1, 5))
    sigma, trend = draw(st.floats(0, 30)), draw(FINITE)
    return Market(bid, bid + spread, sigma, draw(st.sampled_from([1.0, 5.0, 7.3])), trend, draw(st.integers(0, 2)))


FORECASTS = st.builds(
    Forecast, FINITE, st.floats(0, 20), st.floats(-5, 40) | st.sampled_from([30.0, -0.0]), st.floats(0, 1)
)


@st.composite
def limits(draw: st.DrawFn) -> LimitsConfig:
    """Often one that binds alone, and close to others."""
    lots = st.integers(1, 6) | st.integers(1, 30)
    money = maybe(UNITS.filter(lambda amount: amount > 0) | st.floats(0.5, 5_000) | st.just(1e30))
    return LimitsConfig(
        max_position_lots=draw(lots), max_order_lots=draw(lots | st.just(10**30)), max_ladder_lots=draw(maybe(lots)),
        max_open_orders=draw(st.just(20) | st.integers(1, 9)), price_collar_bps=draw(COLLARS),
        last_collar_bps=draw(maybe(COLLARS)), max_order_notional=draw(money), max_gross_notional=draw(money),
        max_net_notional=draw(money),
    )  # fmt: skip


@st.composite
def risks(draw: st.DrawFn, mid: int) -> RiskState:
    prices, lots = st.integers(mid - 6, mid + 6), st.just(0) | st.integers(0, 20)
    money = UNITS | st.floats(-3_000, 3_000) | st.sampled_from([math.nan, math.inf, -math.inf])
    return RiskState(
        draw(st.integers(-4, 4) | st.integers(-30, 30)), draw(lots), draw(lots), draw(st.integers(0, 9)),
        tuple(draw(st.lists(st.tuples(SIDES, prices, st.booleans()), max_size=4))), draw(st.just(0) | prices),
        draw(money), draw(money), draw(st.just(math.inf) | st.floats(-3, 12)),
        draw(st.sampled_from(["", "", "", "mark", "fee"])),
    )  # fmt: skip


LADDERS = st.builds(
    LadderConfig, st.integers(1, 20), st.integers(1, 3), st.integers(1, 5), st.integers(0, 3),
    st.sampled_from([0.0, 0.1, 1.0]), st.sampled_from([1, 7, 1_000_000]),
)  # fmt: skip
DIFFERS = st.builds(DifferConfig, st.integers(0, 2), st.sampled_from([0.0, 0.3, 0.5]), st.floats(0, 1))
MODELS = st.builds(ModelGuardConfig, st.sampled_from(["pull", "wide"]), st.floats(0.5, 9), st.floats(0.1, 3))


@st.composite
def quoters(draw: st.DrawFn) -> tuple[Quoter, reference.Best]:
    offset = OffsetConfig(draw(FINITE), draw(FINITE), draw(st.floats(-2, 2)))
    gamma, a, k = (draw(st.floats(0.01, 2)) for _ in range(3))
    cmm = CmmConfig(*(draw(st.floats(-1, 2)) for _ in range(8)))
    cost = draw(st.floats(-3, 9))
    return draw(
        st.sampled_from(
            [
                (CmmQuoter(cmm, cost), reference.cmm(cmm, cost)),
                (FoicQuoter(offset), reference.offset(offset, inventory_counts=False, trend_counts=False)),
                (LiicQuoter(offset), reference.offset(offset, inventory_counts=True, trend_counts=False)),
                (LtiicQuoter(offset), reference.offset(offset, inventory_counts=True, trend_counts=True)),
                (AvellanedaStoikovQuoter(gamma, k, 20.0), reference.avellaneda_stoikov(gamma, k, 20.0)),
                (GlftQuoter(gamma, a, k), reference.glft(gamma, a, k)),
            ]
        )
    )


@st.composite
def actions(draw: st.DrawFn, mid: int) -> list[Action]:
    prices, sizes = st.integers(mid - 6, mid + 6), st.integers(1, 8) | st.integers(1, 40)
    one = st.builds(Action, st.sampled_from([*Kind, Kind.PLACE, Kind.PLACE]), SIDES, prices, sizes, st.integers(-1, 3))
    return draw(st.lists(one, max_size=14))


@given(quoters(), markets(), FORECASTS, st.integers(-40, 40), st.integers(1, 40))
@THOROUGH
def test_a_quoter_says_what_its_formula_says(
    both: tuple[Quoter, reference.Best], market: Market, forecast: Forecast, inventory: int, limit: int
) -> None:
    ours, expected = both
    assert ours.best(market, forecast, inventory, limit) == expected(market, forecast, inventory, limit)


@given(st.data(), limits(), VALUES)
@OFTEN
def test_limits_admit_and_refuse_as_the_reference_does(
    data: st.DataObject, config: LimitsConfig, value: Valuation
) -> None:
    mid = data.draw(st.sampled_from([7, 100, 9_005] if value.inverse else [-50, 0, 7, 100, 9_005]))
    batch, risk = data.draw(actions(mid)), data.draw(risks(mid))
    half = data.draw(st.sampled_from([0.0, 0.5]))
    if value.inverse:  # which divides by the price
        batch = [action for action in batch if action.price > 0]
    found = RiskChecks(config, value).admit(batch, risk, mid + half)
    assert found == reference.admit(config, value.turnover, batch, risk, mid + half)


@pytest.mark.parametrize("limit", ["max_gross_notional", "max_net_notional"])
def test_money_limits_round_as_the_reference_does(limit: str) -> None:
    """Amounts of whole lots but for the last bit: another order of operations would let a lot more or less pass."""
    value, nothing, lot = Valuation(0.1), RiskState(0, 0, 0, 0, ()), 0.1 * 7
    grid = itertools.product(range(1, 9), range(-4, 5), range(-3, 4), range(3), (BID, ASK))
    for most, others, position, resting, side in grid:
        checks = LimitsConfig(price_collar_bps=1e9, **{limit: most * lot})
        amount, batch = others * lot, [Action(Kind.PLACE, side, 7, 9, -1)]
        risk = nothing._replace(position=position, buys=resting, others_gross=abs(amount), others_net=amount)
        assert RiskChecks(checks, value).admit(batch, risk, 7.0) == reference.admit(
            checks, value.turnover, batch, risk, 7.0
        )


@given(limits(), VALUES, risks(9_005), actions(9_005))
@THOROUGH
def test_an_unknown_mid_lets_pass_only_what_is_not_money(
    config: LimitsConfig, value: Valuation, risk: RiskState, batch: list[Action]
) -> None:
    found = RiskChecks(config, value).admit(batch, risk, math.nan)
    assert found == reference.admit(config, value.turnover, batch, risk, math.nan)


class Plain:
    """A quoter of a user's own."""

    def __init__(self, best: reference.Best, needs_forecast: bool) -> None:
        self.best, self.needs_forecast = best, needs_forecast


@given(st.data(), quoters(), limits(), LADDERS, DIFFERS, MODELS, VALUES)
@THOROUGH
def test_a_decision_is_the_references(
    data: st.DataObject,
    both: tuple[Quoter, reference.Best],
    limit: LimitsConfig,
    ladder: LadderConfig,
    differ: DifferConfig,
    model: ModelGuardConfig,
    value: Valuation,
) -> None:
    """Compiled throughout, and with the quoter asked in Python; the same decider again, whatever came before."""
    ours, best = both
    strategy = StrategyConfig(ladder=ladder, differ=differ)
    deciders = [
        Decider(ladder, differ, limit, model, quoter, value) for quoter in (ours, Plain(best, ours.needs_forecast))
    ]
    for _ in range(2):
        market = data.draw(markets(positive=value.inverse))
        inputs = data.draw(inputs_at(market, ours.needs_forecast))
        try:
            expected = reference.decide(strategy, limit, model, best, value.turnover, inputs)
        except ZeroDivisionError:  # a price of nothing of an inverse contract
            continue
        for decider in deciders:
            found = decider.decide(inputs)
            levels = tuple([tuple(level) for level in side.tolist()] for side in found.ladder)
            assert (levels, found.actions, found.refusals) == expected


@st.composite
def inputs_at(draw: st.DrawFn, market: Market, needs_forecast: bool) -> Inputs:
    mid = market.bid_ticks
    orders = st.lists(st.tuples(st.integers(mid - 9, mid + 9), st.integers(1, 30)), max_size=40)
    fault = draw(st.sampled_from(["", "", "not_finite", "confidence"]))
    forecast = draw(FORECASTS if needs_forecast and not fault else maybe(FORECASTS))
    paused = draw(st.tuples(st.booleans(), st.booleans()))
    return Inputs(market, forecast, fault, paused, draw(orders), draw(orders), draw(risks(mid)))


def test_a_subclass_with_a_best_of_its_own_is_asked() -> None:
    class Further(LiicQuoter):
        def best(self, market: Market, forecast: Any, inventory: int, limit: int) -> tuple[float, float]:
            bid, ask = super().best(market, forecast, inventory, limit)
            return bid - 7, ask + 7

    market, nothing = Market(99, 101, 1.0, 5.0, 0.0, 1), RiskState(0, 0, 0, 0, ())
    quoter = Further(OffsetConfig(offset_ticks=2))
    decider = Decider(LadderConfig(levels=1), DifferConfig(), LimitsConfig(), ModelGuardConfig(), quoter)
    decision = decider.decide(Inputs(market, None, "", (False, False), [], [], nothing))
    assert [side[0][0] for side in (decision.ladder.bids, decision.ladder.asks)] == [91, 109]


def test_what_a_fill_costs_is_quoted_from_the_next_decision_on() -> None:
    market, nothing, sure = Market(99, 101, 1.0, 5.0, 0.0, 1), RiskState(0, 0, 0, 0, ()), Forecast(0.0, 2.0, 0.0, 1.0)
    quoter = CmmQuoter(CmmConfig(), 0.0)
    decider = Decider(
        LadderConfig(levels=1), DifferConfig(), LimitsConfig(price_collar_bps=1e4), ModelGuardConfig(), quoter
    )
    inputs = Inputs(market, sure, "", (False, False), [], [], nothing)
    near = decider.decide(inputs).ladder.bids[0, 0]
    quoter.charge(20.0)
    assert (near, decider.decide(inputs).ladder.bids[0, 0]) == (99, 80)


def test_a_forecast_that_is_needed_has_to_be_there() -> None:
    decider = Decider(LadderConfig(), DifferConfig(), LimitsConfig(), ModelGuardConfig(), CmmQuoter(CmmConfig(), 0.0))
    with pytest.raises(AssertionError):
        decider.decide(
            Inputs(Market(99, 101, 1.0, 5.0, 0.0, 1), None, "", (False, False), [], [], RiskState(0, 0, 0, 0, ()))
        )


def test_a_decision_is_plain_python() -> None:
    """Journals write it down: numbers of numpy are none of JSON's."""
    decider = Decider(
        LadderConfig(), DifferConfig(), LimitsConfig(max_order_lots=1), ModelGuardConfig(), FoicQuoter(OffsetConfig())
    )
    decision = decider.decide(
        Inputs(Market(9_990, 10_010, 1.0, 5.0, 0.0, 1), None, "", (False, False), [], [], RiskState(0, 0, 0, 0, ()))
    )
    assert decision.refusals == {"order_size": 4}
    numbers = itertools.chain.from_iterable(decision.actions)
    assert {type(number) for number in numbers} == {Kind, int}
    assert msgspec.json.encode((decision.actions, decision.refusals))
