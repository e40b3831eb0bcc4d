"""The compiled guard, orders and ledger against their slow references, to the bit, over histories of any kind."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from market.array_book import BookState
from market.events import ASK, BID
from market.ledger import Ledger
from market.valuation import Valuation
from models.ensemble.predictor import Forecast
from strategies import guard
from strategies.guard import DataGuardConfig, FillGuardConfig, ModelGuardConfig, MoneyGuardConfig
from strategies.order_table import State
from strategies.quoting_hours import QuotingHours
from strategies.trading_state import REASON_NAMES, Reason
from strategies.working import WorkingOrders
from tests import reference_guard as slow
from tests import reference_orders as slow_orders
from tests.rules import RollingMinimum

THOROUGH = settings(max_examples=300, deadline=None)
NOW = 1_700_000_000_000_000_000  # floats are 256 ns apart here
SIDES = st.sampled_from([BID, ASK])
STEPS = st.integers(-3_000_000_000, 4_000_000_000) | st.integers(-400, 400) | st.just(0)


def maybe[T](some: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    return st.none() | some


@given(st.integers(0, 10**12), st.lists(st.tuples(STEPS, st.integers(-(10**9), 10**9)), max_size=300))
@THOROUGH
def test_rolling_minimum(window: int, history: list[tuple[int, int]]) -> None:
    ours, expected, now = RollingMinimum(window), slow.RollingMinimum(window), NOW
    for step, value in history:
        now += step
        assert ours.add(now, value) == expected.add(now, value)


def test_a_window_holds_more_than_its_first_room_and_shifts_within_it() -> None:
    ours, expected = RollingMinimum(700), slow.RollingMinimum(700)
    for i in range(4_000):
        now, value = NOW + i * (1 if i < 2_000 else 50), i % 900
        assert ours.add(now, value) == expected.add(now, value)


DATA = st.builds(
    DataGuardConfig, st.sampled_from([0.5, 2.0]), maybe(st.sampled_from([1.0, 100.0])), st.sampled_from([0.3, 10.0, 1e12]),
    st.sampled_from([0.0, 1.0]), st.sampled_from(["contiguous", "rising", "ignore"]),
)  # fmt: skip
UPDATES = st.lists(
    st.tuples(STEPS, st.integers(-(10**9), 10**9), st.integers(-1, 3), st.booleans(), st.sampled_from(BookState), st.booleans()),
    max_size=60,
)  # fmt: skip


@given(DATA, UPDATES)
@THOROUGH
def test_data_guard(config: DataGuardConfig, history: list[tuple[int, int, int, bool, BookState, bool]]) -> None:
    ours, expected, now, number = guard.DataGuard(config), slow.DataGuard(config), NOW, 10
    for step, late, skip, clear, state, by_time in history:
        now, number = now + step, number + skip
        if by_time:
            assert ours.on_time(now) == expected.on_time(now)
        else:
            update = (now, now - late, number, clear, state)
            assert ours.on_book(*update) == expected.on_book(*update)
        assert (ours.needs_snapshot, ours.lag_ns) == (expected.needs_snapshot, expected.lag_ns)


@given(
    st.builds(
        ModelGuardConfig, min_confidence=st.floats(0, 1), max_outside=maybe(st.integers(0, 3)),
        deadline_ms=maybe(st.sampled_from([0.5, 1e12])),
    ),
    st.lists(st.tuples(maybe(st.floats(0, 1) | st.just(math.nan)), st.integers(0, 10**6), st.integers(0, 5))),
    st.booleans(),
)  # fmt: skip
@THOROUGH
def test_model_guard(config: ModelGuardConfig, looks: list[tuple[float | None, int, int]], broken: bool) -> None:
    ours, expected = guard.ModelGuard(config), slow.ModelGuard(config)
    ours.broken = expected.broken = "artifact_changed" if broken else ""
    for confidence, took, outside in looks:
        forecast = Forecast(0.0, 1.0, 2.0, confidence) if confidence is not None else None
        assert ours.fault(forecast, took) == expected.fault(forecast, took)
        ours.range_checked(outside)
        expected.range_checked(outside)


def bits(*numbers: float) -> list[str]:
    return [float(number).hex() for number in numbers]


MONEY = maybe(st.floats(0.1, 1_000))


@given(
    st.builds(MoneyGuardConfig, MONEY, MONEY), st.floats(-100, 1_000),
    st.lists(st.floats(-2_000, 2_000) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0])),
)  # fmt: skip
@THOROUGH
def test_money_guard(config: MoneyGuardConfig, peak: float, pnls: list[float]) -> None:
    ours, expected = guard.MoneyGuard(config, peak), slow.MoneyGuard(config, peak)
    for pnl in pnls:
        assert ours.check(pnl) == expected.check(pnl)
        assert bits(ours.peak, ours.used) == bits(expected.peak, expected.used)
        assert ours.warns == expected.warns


FILLS = st.builds(
    FillGuardConfig, maybe(st.integers(1, 5)), st.sampled_from([1e-7, 1.0, 1.7, 1e9]), st.sampled_from([0.5, 1e12])
)


@given(FILLS, st.lists(st.tuples(STEPS, SIDES, st.booleans(), st.integers(0, 2)), max_size=60))
@THOROUGH
def test_fill_guard(config: FillGuardConfig, history: list[tuple[int, int, bool, int]]) -> None:
    ours, expected, now = guard.FillGuard(config), slow.FillGuard(config), NOW
    for step, side, fills, best in history:
        now += step
        if fills:
            assert ours.on_fill(side, now) == expected.on_fill(side, now)
        else:
            ours.quoted(side, best)
            expected.quoted(side, best)
        assert ours.paused(now) == expected.paused(now)
        assert ours.is_paused(side, now + 10**9) == expected.is_paused(side, now + 10**9)


@given(maybe(st.floats(0.01, 1_000)), st.lists(st.tuples(STEPS, st.integers(0, 20)), max_size=60))
@THOROUGH
def test_message_budget(per_s: float | None, history: list[tuple[int, int]]) -> None:
    ours, expected, now = guard.MessageBudget(per_s), slow.MessageBudget(per_s), NOW
    for step, messages in history:
        now += step
        assert bits(ours.left(now)) == bits(expected.left(now))
        ours.spend(messages)
        expected.spend(messages)


@given(st.lists(st.integers(0, 50), unique=True, max_size=12), st.integers(0, 3), st.lists(st.integers(-5, 60)))
@THOROUGH
def test_quoting_hours(edges: list[int], early: int, moments: list[int]) -> None:
    edges = sorted(edges)
    sessions = list(zip(edges[::2], edges[1::2], strict=False))
    ours, expected = QuotingHours(sessions, early * 1e-9), slow.QuotingHours(sessions, early * 1e-9)
    assert [ours.contain(ts) for ts in moments] == [expected.contain(ts) for ts in moments]


@given(
    st.sampled_from([Valuation(), Valuation(60.0), Valuation(1e5 / 3, inverse=True)]), st.integers(-9, 9), st.floats(-1e6, 1e6),
    st.lists(st.tuples(SIDES, st.integers(1, 10_000), st.integers(1, 9), st.floats(-5, 5), st.booleans())),
)  # fmt: skip
@THOROUGH
def test_ledger(value: Valuation, position: int, flow: float, fills: list[tuple[int, int, int, float, bool]]) -> None:
    ours, expected = Ledger(value, position, flow), slow_orders.Ledger(value, position, flow)
    for side, price, lots, commission, is_new_day in fills:
        for ledger in (ours, expected):
            ledger.on_fill(side, price, lots, commission)
            if is_new_day:
                ledger.new_day(price + 0.5)
        assert (ours.position, type(ours.position)) == (expected.position, int)
        assert bits(ours.flow, ours.base, ours.equity(price + 1.5), ours.pnl(price + 1.5)) == bits(
            expected.flow, expected.base, expected.equity(price + 1.5), expected.pnl(price + 1.5)
        )


EVENTS = ["sent", "sent", "sent", "accepted", "resized", "filled", "gone", "asked", "put_back", "late"]


@given(
    st.lists(
        st.tuples(st.sampled_from(EVENTS), st.integers(0, 60), st.integers(0, 9), SIDES, st.booleans()), max_size=150
    )
)
@THOROUGH
def test_working_orders(events: list[tuple[str, int, int, int, bool]]) -> None:
    """Also of orders that are gone, and of more than a table's first room."""
    ours, expected, count = WorkingOrders(3), slow_orders.WorkingOrders(), 0
    expected.exposure.position = 3
    for now, (kind, pick, lots, side, flag) in enumerate(events):
        key: Any = f"order {pick % max(count, 1)}"
        known = expected.get(key)
        if kind == "sent":
            for _ in range(1 + 5 * flag):
                args = (f"order {count}", side, 100 + pick, lots + 1)
                for orders in (ours, expected):
                    orders.sent(*args, beyond_depth=flag, now_ns=now)
                count += 1
        elif kind in {"accepted", "gone"}:
            for orders in (ours, expected):
                getattr(orders, kind)(key)
        elif kind == "resized":
            for orders in (ours, expected):
                orders.resized(key, lots)
        elif kind == "filled":
            found = ours.filled(key, lots)
            before = expected.filled(key, lots)
            assert found == ((before.side, before.beyond_depth) if before is not None else None)
        elif kind == "asked":
            state = State.CHANGING if flag else State.CANCELLING
            ours.asked(key, state, now)
            if known is not None:
                known.state, known.since_ns = state, now
        elif kind == "put_back":
            state = State.RESTING if flag else State.SENT
            ours.put_back(key, state)
            if known is not None:
                known.state = state
        else:
            ours.filled_late(lots)
            expected.exposure.position += lots
        mine, theirs = ours.exposure, expected.exposure
        assert mine == (theirs.position, theirs.buys, theirs.sells, theirs.orders)
        names = ("key", "side", "price", "left", "state", "beyond_depth", "since_ns", "filled")
        rows = [tuple(getattr(order, name) for name in names) for order in expected.all()]
        assert [tuple(order) for order in ours.all()] == rows
        assert len(ours) == len(expected)
        assert ours.standing() == expected.standing()
        assert [o.key for o in ours.touchable(side)] == [o.key for o in expected.touchable(side)]
        assert ours.unanswered(now - 2) == len(expected.unanswered(now - 2))
        order = ours.get(key)
        assert (order is None) == (expected.get(key) is None)
        assert order is None or order in ours.all()


def test_every_reason_has_a_number_of_its_own() -> None:
    assert [REASON_NAMES[reason.code] for reason in Reason] == [reason.value for reason in Reason]
    assert 0 not in {reason.code for reason in Reason}
