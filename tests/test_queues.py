"""Queue models and the matcher against hand-made feeds with known answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from market.events import ASK, BID, BUY, SELL, OrderUpdate, Trade
from market.level_book import OrderBook
from venues.recordings.simulator import simulate, simulate_orders
from venues.simulation import recorded_book
from venues.simulation.matcher import Matcher
from venues.simulation.queues import Fifo, Nautilus, Optimistic, Pessimistic, Power, Proportional, QueueModel
from venues.simulation.recorded_book import RecordedOrders, Rows

MODELS: dict[str, Callable[[], QueueModel]] = {
    "pessimistic": Pessimistic,
    "optimistic": Optimistic,
    "proportional": Proportional,
    "power": lambda: Power(1.0, 2.0),
    "nautilus": Nautilus,
}


class Book:
    """A hand-made book; bids below `last_bid` and asks above `last_ask` are not shown."""

    def __init__(self, levels: dict[tuple[int, int], int]) -> None:
        self.levels = dict(levels)
        self.last_bid, self.last_ask = 0, 10**9
        self.rows, self.names_orders = 0, False

    def lots(self, side: int, price: int) -> int:
        return self.levels.get((side, price), 0)

    def best(self, side: int) -> int:
        prices = [p for s, p in self.levels if s == side]
        return (max(prices) if side == BID else min(prices)) if prices else 0

    @property
    def shown(self) -> NDArray[np.int64]:
        bid, ask = self.best(BID), self.best(ASK)
        lots = (self.lots(BID, bid), self.lots(ASK, ask))
        return np.array([bid, self.last_bid, ask, self.last_ask, *lots], np.int64)


def rows_of(levels: Sequence[tuple[int, int, int]], *standing: NDArray[np.int64]) -> Rows:
    return recorded_book.rows_of(np.array(levels, np.int64).reshape(-1, 3), *standing)


class Market:
    """Feeds a matcher; time goes on by one at each event, or as told."""

    def __init__(self, model: QueueModel, snapshots: bool = False) -> None:
        self.book = Book({(BID, 100): 50, (BID, 99): 80, (ASK, 101): 40, (ASK, 102): 90})
        self.matcher = Matcher(model, self.book, snapshots)
        self.now = 0
        self.show()

    def place(self, key: str = "a", side: int = BID, price: int = 100, lots: int = 10) -> None:
        self.matcher.place(key, side, price, lots, self.now)

    def show(self, *rows: tuple[int, int, int], at: int | None = None, clear: bool = False) -> int:
        """A book update; lots of ours that it filled."""
        self.now = at if at is not None else self.now + 1
        if clear:
            self.book.levels.clear()
        for side, price, size in rows:
            self.book.levels[side, price] = size
            if not size:
                del self.book.levels[side, price]
        reached = self.matcher.on_book(self.now, self.now, rows_of(rows), clear)
        return sum(self.matcher.claim(place.key) for place in list(reached))

    def trade(self, lots: int, price: int = 100, side: int = SELL, event: int | None = None) -> dict[str, int]:
        """A trade; our lots that it filled, by order."""
        self.now += 1
        reached = self.matcher.on_trade(self.now, event or self.now, price, lots, side)
        return {place.key: self.matcher.claim(place.key) for place in reached}

    def ahead(self, key: str = "a") -> float:
        place = self.matcher.get(key)
        assert place is not None
        return place.ahead


@pytest.fixture(params=MODELS)
def market(request: pytest.FixtureRequest) -> Market:
    return Market(MODELS[request.param]())


# ── what every model must get right ───────────────────────────────────────────────────────────


def test_trades_eat_the_queue_before_us(market: Market) -> None:
    market.place()
    assert market.ahead() == 50
    assert market.trade(30) == {}
    assert market.trade(15) == {}
    assert market.trade(12) == {"a": 7}
    assert market.trade(20) == {"a": 3}
    assert market.trade(99) == {}  # it is filled


def test_a_trade_and_its_shrink_count_once(market: Market) -> None:
    market.place()
    market.trade(30)
    market.show((BID, 100, 20))
    assert market.ahead() == 20
    assert market.trade(25) == {"a": 5}


def test_a_level_that_shows_less_than_our_queue_shortens_it(market: Market) -> None:
    market.place()
    market.show((BID, 100, 5))
    assert market.ahead() == 5
    assert market.trade(8) == {"a": 3}


def test_a_snapshot_shown_again_changes_nothing(market: Market) -> None:
    market.place()
    market.trade(10)
    market.show((BID, 100, 40))
    market.show((BID, 100, 40), (BID, 99, 80), (ASK, 101, 40), (ASK, 102, 90), clear=True)
    assert market.ahead() == 40


def test_a_level_gone_from_a_new_snapshot_holds_no_queue(market: Market) -> None:
    market.place()
    market.show((BID, 99, 80), (ASK, 101, 40), clear=True)
    assert market.ahead() == 0
    assert market.trade(4) == {"a": 4}


def test_new_orders_join_behind_us(market: Market) -> None:
    market.place()
    market.show((BID, 100, 400))
    assert market.ahead() == 50


def test_our_orders_share_one_queue(market: Market) -> None:
    market.place("a", lots=3)
    market.show((BID, 100, 60))
    market.place("b", lots=4)
    assert (market.ahead("a"), market.ahead("b")) == (50, 60)
    assert market.trade(52) == {"a": 2}
    assert market.trade(9) == {"a": 1}  # 61 lots: 50 others, 3 of ours, 8 of the 10 between us
    assert market.ahead("b") == pytest.approx(2)
    assert market.trade(5) == {"b": 3}


def test_an_amended_order_keeps_its_place(market: Market) -> None:
    market.place()
    market.trade(20)
    market.matcher.resize("a", 2)
    assert market.ahead() == 30
    assert market.trade(50) == {"a": 2}


def test_a_cancelled_order_fills_no_more(market: Market) -> None:
    market.place()
    market.matcher.remove("a")
    assert market.trade(500) == {}


def test_buyers_reach_our_asks(market: Market) -> None:
    market.place(side=ASK, price=101, lots=2)
    assert market.trade(41, 101, SELL) == {}
    assert market.trade(41, 101, BUY) == {"a": 1}


# ── where they differ ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("model", "ahead"),
    [
        (Pessimistic(), 50.0),
        (Optimistic(), 30.0),
        (Proportional(), 40.0),
        (Power(2.0), 40.0),  # as many before as behind: any power is even
        (Power(1.0, 1.0986123), 45.0),  # log odds ln 3: three in four stood behind
        (Nautilus(), 50.0),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_cancel_of_twenty_with_fifty_on_either_side(model: QueueModel, ahead: float) -> None:
    market = Market(model)
    market.place()
    market.show((BID, 100, 100))
    market.show((BID, 100, 80))
    assert market.ahead() == pytest.approx(ahead, abs=1e-5)


def test_powers_follow_the_lots() -> None:
    for n, share in ((0.5, 2.0 / 3.0), (1.0, 0.8), (2.0, 16.0 / 17.0)):
        market = Market(Power(n))
        market.place()
        market.show((BID, 100, 250))  # 50 before, 200 behind: odds 4^n for behind
        market.show((BID, 100, 240))
        assert market.ahead() == pytest.approx(50 - 10 * (1 - share))


def test_more_is_cancelled_than_stood_behind() -> None:
    market = Market(Power(1.0, 5.0))
    market.place()
    market.show((BID, 100, 55))
    market.show((BID, 100, 30))
    assert market.ahead() == pytest.approx(30)


class Named:
    """An exact queue at 100, of a recording that names orders."""

    def __init__(self) -> None:
        self.book = RecordedOrders()
        self.matcher = Matcher(Fifo(), self.book)
        self.now = 0
        self.show(20, 1)
        self.show(50, 2)
        self.matcher.place("a", BID, 100, 1, self.now)

    def show(self, size: int, order: int) -> None:
        self.now += 1
        levels = [(BID, 100, size)]
        standing = self.book.take(np.array(levels, np.int64), [order], False)
        self.matcher.on_book(self.now, self.now, rows_of(levels, *standing))

    def trade(self, lots: int) -> int:
        self.now += 1
        self.matcher.on_trade(self.now, self.now, 100, lots, SELL)
        return self.matcher.claim("a")

    def ahead(self) -> float:
        place = self.matcher.get("a")
        assert place is not None
        return place.ahead


def test_exact_queue_knows_who_left() -> None:
    market = Named()
    market.show(58, 3)  # joins behind
    market.show(51, 3)  # and takes 7 of its 8 away
    assert market.ahead() == 50
    market.show(31, 1)  # the first leaves
    assert market.ahead() == 30
    market.show(36, 2)  # grows: goes behind us
    assert market.ahead() == 0
    assert market.trade(1) == 1


def test_exact_queue_takes_a_trade_and_its_order_change_for_one() -> None:
    market = Named()
    assert market.trade(25) == 0
    market.show(30, 1)
    market.show(25, 2)
    assert market.ahead() == 25
    with pytest.raises(ValueError, match="by id"):
        Matcher(Fifo(), Book({})).place("z", BID, 99, 1, 0)


# ── trades through, crossed books ─────────────────────────────────────────────────────────────


def through() -> list[Market]:
    return [Market(make()) for name, make in MODELS.items() if name != "nautilus"]


def test_a_trade_through_our_price_fills_us_and_is_spent_once() -> None:
    for market in through():
        market.place("near", price=100, lots=3)
        market.place("far", price=99, lots=3)
        assert market.trade(5, 98) == {"near": 3, "far": 2}
        assert market.trade(5, 98) == {"far": 1}
    market = Market(Nautilus())
    market.place()
    assert market.trade(500, 99) == {}  # the engine's own queue leaves us standing: why ours exist


def test_a_book_that_stands_through_us_fills_us_and_one_at_our_price_for_what_it_shows() -> None:
    for market in through():
        market.place("at", price=100, lots=10)
        market.place("above", price=101 - 1, lots=0)  # nothing left to fill
        market.show((BID, 100, 0), (BID, 99, 0), (ASK, 100, 6))
        place = market.matcher.get("at")
        assert place is not None
        assert place.left == 4
        assert market.show((ASK, 102, 91)) == 0  # the same six lots are spent
        assert market.show((ASK, 99, 1)) == 4


# ── cancels in flight, snapshots ──────────────────────────────────────────────────────────────


def test_a_snapshot_feed_gives_an_order_its_share_of_the_interval() -> None:
    market = Market(Pessimistic(), snapshots=True)
    market.show((BID, 100, 4), at=1000)
    market.now = 1100
    market.place()  # a tenth of the interval has gone by
    market.now = 1999
    assert market.trade(10) == {"a": 6}  # 10 traded, 4 before us, and at most 9 while we stood
    market = Market(Pessimistic(), snapshots=True)
    market.show((BID, 100, 0), at=1000)
    market.now = 1750
    market.place()
    market.now = 1999
    assert market.trade(8) == {"a": 2}  # a quarter of them


def test_a_cancel_in_flight_is_hit_by_what_traded_before_it_arrived() -> None:
    market = Market(Pessimistic(), snapshots=True)
    market.show((BID, 100, 0), at=1000)
    market.place()
    market.show((BID, 100, 0), at=2000)
    market.matcher.leave("a", 2250)
    market.now = 2999
    assert market.trade(8) == {"a": 2}
    assert market.show((ASK, 98, 5), at=3000) == 0  # a book that came after does not


def test_nothing_shown_is_no_empty_queue() -> None:
    market = Market(Pessimistic())
    market.book.last_bid = 99
    market.place("deep", price=97, lots=2)
    assert market.trade(50, 97) == {}  # at a price out of view: who stood there is unknown
    market.book.last_bid = 97
    market.show((BID, 97, 30))
    assert market.ahead("deep") == 30  # all of it before us
    assert market.trade(31, 97) == {"deep": 1}
    market = Market(Pessimistic())
    market.book.last_bid = 99
    market.place("deep", price=97, lots=2)
    assert market.trade(50, 96) == {"deep": 2}  # but beyond it, whoever stood there is filled


# ── books that come before their trades ───────────────────────────────────────────────────────


def test_a_shrink_seen_before_its_trade_does_not_count_twice() -> None:
    market = Market(Proportional(books_first=True))
    market.place()
    market.show((BID, 100, 100))
    shown_at = market.now + 1
    market.show((BID, 100, 60))  # forty lots traded, as the next print says
    assert market.ahead() == pytest.approx(30)
    market.trade(40, event=shown_at)
    assert market.ahead() == pytest.approx(10)
    market.show((BID, 100, 60))
    assert market.ahead() == pytest.approx(10)
    naive = Market(Proportional())
    naive.place()
    naive.show((BID, 100, 100))
    naive.show((BID, 100, 60))
    assert naive.trade(40) == {"a": 10}  # counted twice, the queue is used up


def test_a_late_print_is_not_ours_if_the_book_we_joined_had_it_in() -> None:
    market = Market(Pessimistic(books_first=True))
    market.show((BID, 100, 2))
    market.place()
    assert market.trade(48, event=market.now) == {}
    assert market.ahead() == 2
    assert market.trade(3) == {"a": 1}


# ── properties ────────────────────────────────────────────────────────────────────────────────

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("trade"), st.integers(1, 30)),
        st.tuples(st.just("level"), st.integers(0, 80)),
    ),
    max_size=40,
)


@given(EVENTS)
def test_optimistic_and_pessimistic_bound_all_others_and_no_lot_is_spent_twice(events: list[tuple[str, int]]) -> None:
    markets = {name: Market(make()) for name, make in MODELS.items()}
    got = dict.fromkeys(MODELS, 0)
    traded = 0
    for market in markets.values():
        market.place("a", lots=500)
        market.place("b", lots=500)
    for kind, size in events:
        traded += size if kind == "trade" else 0
        for name, market in markets.items():
            if kind == "trade":
                got[name] += sum(market.trade(size).values())
            else:
                market.show((BID, 100, size)) if size else market.show((BID, 100, 0))
            place = market.matcher.get("a")
            assert place is not None
            assert place.ahead >= 0
            assert got[name] <= traded
        ahead = {name: market.ahead() for name, market in markets.items()}
        for name in ("proportional", "power"):
            assert ahead["optimistic"] - 1 <= ahead[name] <= ahead["pessimistic"] + 1


@pytest.mark.parametrize("seed", [1, 2])
def test_the_simulated_market_is_the_same_order_by_order(seed: int) -> None:
    level = [e for e in simulate(seed, 60.0, 10**18) if not isinstance(e, Trade)]
    orders, sizes, seen = OrderBook(), {}, []
    resting: dict[int, int] = {}
    for event in simulate_orders(seed, 60.0, 10**18):
        if isinstance(event, OrderUpdate):
            assert event.size != resting.get(event.order_id, 0)
            resting[event.order_id] = event.size
            for side, price, size, _ in orders.apply(event):
                sizes[side, price] = size
            if event.last:
                seen.append((event.ts_recv, {k: v for k, v in sizes.items() if v}))
    shown: dict[tuple[int, int], int] = {}
    states = {}
    for update in level:
        for side, price, size in update.levels:  # type: ignore[union-attr]
            shown[side, price] = size
        states[update.ts_recv] = {k: v for k, v in shown.items() if v}
    assert len(seen) > 1_000
    for ts, state in seen:
        assert state == states[ts]
