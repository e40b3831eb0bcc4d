"""Golden fills: what the pinned Nautilus, with its own queue, does with scripted feeds. An upgrade that changes
one of these may change every backtest, and must be looked at before it lands. `test_venue.py` has the same for
our matcher inside it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from nautilus_trader.backtest import BacktestEngine, BacktestEngineConfig
from nautilus_trader.common import LoggerConfig
from nautilus_trader.execution import MakerTakerFeeModel, StaticLatencyModel
from nautilus_trader.model import (
    AccountType,
    BookType,
    Currency,
    InstrumentId,
    Money,
    OmsType,
    OrderBookDeltas,
    OrderSide,
    StrategyId,
    Venue,
)
from nautilus_trader.trading import Strategy, StrategyConfig

from market.contracts import ContractTable
from market.events import ASK, BID, BUY, SELL, Level, Trade
from market.nautilus import DeltaMaker, Instrument, nautilus_instrument

CONTRACT = ContractTable().by_id("QR.SIM")
MAKER, UNITS, ID = DeltaMaker(CONTRACT), Instrument(CONTRACT), InstrumentId.from_str("QR.SIM")
SNAP = [(BID, 1000, 50), (BID, 999, 80), (ASK, 1001, 40), (ASK, 1002, 90)]
type Script = dict[int, Callable[[Any], None]]


def book(ts: int, changes: list[Level], clear: bool = False) -> OrderBookDeltas:
    return OrderBookDeltas(ID, MAKER.deltas(changes, ts, ts, ts, clear))


def snap(ts: int = 1000) -> OrderBookDeltas:
    return book(ts, SNAP, clear=True)


def tick(ts: int) -> OrderBookDeltas:
    return book(ts, [(ASK, 1002, 90 + ts % 3)])


def trade(ts: int, price: int, size: int, aggressor: int = SELL) -> Any:
    return MAKER.trade(Trade("QR.SIM", ts, ts, price, size, aggressor), ts, ts)


class Scripted(Strategy):
    """Runs the script's callables at book updates and writes down what the venue answers."""

    script: Script = {}

    def __init__(self, config: StrategyConfig) -> None:
        super().__init__(config)
        self.heard: list[str] = []
        self.order: Any = None

    def on_start(self) -> None:
        self.subscribe_book_deltas(ID, BookType.L2_MBP)

    def on_book_deltas(self, deltas: OrderBookDeltas) -> None:
        action = self.script.get(deltas.ts_init)
        if action is not None:
            action(self)

    def on_order_accepted(self, event: Any) -> None:
        self.heard.append(f"accepted@{event.ts_event}")

    def on_order_rejected(self, event: Any) -> None:
        self.heard.append(f"rejected@{event.ts_event}")

    def on_order_canceled(self, event: Any) -> None:
        self.heard.append(f"canceled@{event.ts_event}")

    def on_order_filled(self, event: Any) -> None:
        self.heard.append(f"filled@{event.ts_event} {event.last_qty}x{event.last_px}")


def join(size: int = 10, price: int = 1000, side: OrderSide = OrderSide.BUY, wake: int = 0) -> Callable[[Any], None]:
    def act(s: Any) -> None:
        s.order = s.order_factory.limit(ID, side, UNITS.quantity(size), UNITS.price(price), post_only=True)
        s.submit_order(s.order)
        if wake:
            s.clock.set_time_alert_ns("arrive", s.clock.timestamp_ns() + wake, lambda _: None)

    return act


def cancel(wake: int) -> Callable[[Any], None]:
    def act(s: Any) -> None:
        s.cancel_order(s.order.client_order_id)
        if wake:
            s.clock.set_time_alert_ns("gone", s.clock.timestamp_ns() + wake, lambda _: None)

    return act


def heard(data: list[Any], script: Script, latency: int = 0) -> list[str]:
    engine = BacktestEngine(
        BacktestEngineConfig(logging=LoggerConfig(bypass_logging=True), bypass_logging=True, run_analysis=False)
    )
    engine.add_venue(
        Venue("SIM"),
        OmsType.NETTING,
        AccountType.MARGIN,
        [Money(1_000_000, Currency.from_str("USD"))],
        book_type=BookType.L2_MBP,
        queue_position=True,
        fee_model=MakerTakerFeeModel(Decimal(0), Decimal(0)),
        latency_model=StaticLatencyModel(base_latency_nanos=latency) if latency else None,
    )
    import datetime as dt

    engine.add_instrument(nautilus_instrument(CONTRACT, dt.date(2020, 1, 1)))
    engine.add_data(data)
    strategy = type("Case", (Scripted,), {"script": script})(StrategyConfig(strategy_id=StrategyId("T-001")))
    engine.add_strategy(strategy)
    engine.run()
    engine.dispose()
    return list(strategy.heard)


ACCEPTED = "accepted@1000"


@pytest.mark.parametrize(
    ("data", "script", "expected"),
    [
        pytest.param(
            [snap(), trade(2000, 1000, 30), trade(3000, 1000, 15), trade(4000, 1000, 12), trade(5000, 1000, 20)],
            {1000: join()},
            [ACCEPTED, "filled@4000 7x1000", "filled@5000 3x1000"],
            id="trades eat the queue ahead",
        ),
        pytest.param(
            [snap(), book(2000, [(BID, 1000, 5)]), trade(3000, 1000, 8), trade(4000, 1000, 30)],
            {1000: join()},
            [ACCEPTED, "filled@3000 3x1000", "filled@4000 7x1000"],
            id="a level that shrinks below our queue shortens it",
        ),
        pytest.param(
            [snap(), trade(2000, 1000, 30), book(2001, [(BID, 1000, 20)]), trade(3000, 1000, 25)],
            {1000: join()},
            [ACCEPTED, "filled@3000 5x1000"],
            id="a trade and its book update count once",
        ),
        pytest.param(
            [snap(), snap(2000), trade(3000, 1000, 1), trade(4000, 1000, 60)],
            {1000: join()},
            [ACCEPTED, "filled@4000 10x1000"],
            id="a repeated snapshot keeps the queue",
        ),
        pytest.param(
            [snap(), trade(2000, 999, 5), trade(3000, 999, 50)],
            {1000: join()},
            [ACCEPTED],
            id="a trade THROUGH our price does not fill us: our matcher does",
        ),
        pytest.param(
            [snap(), book(2000, [(BID, 1000, 0), (BID, 999, 0), (ASK, 1000, 6)]), tick(3000)],
            {1000: join()},
            [ACCEPTED, "filled@2000 6x1000", "filled@3000 4x1000"],
            id="a book that crosses us fills us",
        ),
        pytest.param([snap(), tick(2000)], {1000: join(price=1001)}, ["rejected@1000"], id="post-only never takes"),
        pytest.param(
            [snap(), book(2000, [(ASK, 1000, 5), (BID, 1000, 0), (ASK, 1000, 0), (BID, 1000, 50)]), tick(3000)],
            {1000: join()},
            [ACCEPTED],
            id="a batch is matched whole, not delta by delta",
        ),
    ],
)
def test_fills(data: list[Any], script: Script, expected: list[str]) -> None:
    assert heard(data, script) == expected


def test_a_delayed_order_arrives_after_the_next_event_unless_woken() -> None:
    data = [snap(), trade(2000, 1000, 57), tick(2100)]
    assert heard(data, {1000: join()}, latency=500) == ["accepted@2000"]  # missed a trade it stood in time for
    assert heard(data, {1000: join(wake=500)}, latency=500) == ["accepted@1500", "filled@2000 7x1000"]


def test_a_delayed_cancel_loses_to_the_next_event_unless_woken() -> None:
    data = [snap(), tick(2000), trade(3000, 1000, 70), tick(3500)]
    assert "filled@3000 10x1000" in heard(data, {1000: join(), 2000: cancel(0)}, latency=500)
    woken = heard(data, {1000: join(), 2000: cancel(500)}, latency=500)
    assert woken == ["accepted@2000", "canceled@2500"]


def test_buyers_fill_our_asks() -> None:
    data = [snap(), trade(2000, 1001, 45, BUY)]
    assert heard(data, {1000: join(side=OrderSide.SELL, price=1001)})[1:] == ["filled@2000 5x1001"]
