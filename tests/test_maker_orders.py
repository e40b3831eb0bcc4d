"""What the maker believes of its orders when a venue refuses or its messages overtake each other."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace

import pytest
from nautilus_trader.model import ClientOrderId, LiquiditySide, Money, OrderSide, Price, Quantity

from engine.backtest.run_recorder import RunRecorder
from market.contracts import ContractTable
from market.events import BID
from market.nautilus import Instrument
from models.features.book_features import FeatureSpec
from strategies.clock import ReplayedClock
from strategies.differ import DifferConfig
from strategies.feature_stream import FeatureStream
from strategies.fill_policy import ExactFills, FillPolicy, VenueFills
from strategies.guard import GuardConfig
from strategies.ladder import LadderConfig
from strategies.limits import LimitsConfig
from strategies.maker import MarketMaker
from strategies.observer import Observer, Observers, OwnFill
from strategies.order_table import State
from strategies.quoters import FoicQuoter, OffsetConfig
from strategies.subscription import RecordedSubscription
from strategies.wiring import MakerConfig, Ports, Quoting
from venues.gateway import DirectGateway

CONTRACT = ContractTable().by_id("BTCUSDT-LINEAR.BYBIT")
KEY = ClientOrderId("O-1")


def maker(fills: FillPolicy | None = None) -> MarketMaker:
    instrument = Instrument(CONTRACT, 50)
    config = MakerConfig(LadderConfig(), DifferConfig(), LimitsConfig(), GuardConfig(), 0.0, [], CONTRACT.mark_value)
    quoting = Quoting(FeatureStream(instrument, FeatureSpec()), FoicQuoter(OffsetConfig()))
    ports = Ports(
        DirectGateway(instrument), ReplayedClock(lambda: 0), fills or VenueFills(), RecordedSubscription(),
        Observers([RunRecorder()]),
    )  # fmt: skip
    return MarketMaker(config, instrument, quoting, ports)


def known(monkeypatch: pytest.MonkeyPatch, is_open: bool, is_closed: bool, lots: int = 3) -> None:
    """What Nautilus' cache says of the order."""
    order = SimpleNamespace(is_open=is_open, is_closed=is_closed, leaves_qty=Quantity.from_str(f"0.{lots:03d}"))
    cache = SimpleNamespace(order=lambda _: order)
    monkeypatch.setattr(MarketMaker, "cache", property(lambda self: cache))


def fill(trade_id: str, lots: int = 1) -> SimpleNamespace:
    return SimpleNamespace(
        client_order_id=KEY, trade_id=trade_id, last_qty=Quantity.from_str(f"0.{lots:03d}"),
        last_px=Price.from_str("10000.0"), order_side=OrderSide.BUY, commission=Money.from_str("0.002 USDT"),
        liquidity_side=LiquiditySide.MAKER, ts_event=5,
    )  # fmt: skip


@pytest.mark.parametrize("answer", ["on_order_modify_rejected", "on_order_cancel_rejected"])
def test_an_order_on_its_way_is_not_gone_because_a_change_of_it_was_refused(
    answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come to rest any moment: forgetting it would let the limits be broken."""
    m = maker()
    m.orders.working.sent(KEY, BID, 100_000, 3)
    known(monkeypatch, is_open=False, is_closed=False)
    getattr(m, answer)(SimpleNamespace(client_order_id=KEY, ts_event=5))
    assert (m.orders.working.exposure.buys, m.orders.working.exposure.orders) == (3, 1)
    m.on_order_accepted(SimpleNamespace(client_order_id=KEY, ts_event=5))
    order = m.orders.working.get(KEY)
    assert order is not None
    assert order.state == State.RESTING
    known(monkeypatch, is_open=False, is_closed=True)
    getattr(m, answer)(SimpleNamespace(client_order_id=KEY, ts_event=5))
    assert (m.orders.working.exposure.buys, m.orders.working.exposure.orders) == (0, 0)


def test_a_fill_that_comes_after_its_orders_end_counts_and_only_once() -> None:
    m = maker()
    m.orders.working.sent(KEY, BID, 100_000, 3)
    m.on_order_canceled(SimpleNamespace(client_order_id=KEY, ts_event=5))
    for trade_id in ("a", "a", "b"):
        m.on_order_filled(fill(trade_id))
    assert m.failure is None
    assert (m.position, m.ledger.position) == (2, 2)
    assert m.ledger.flow == pytest.approx(-2 * (0.001 * 10_000 + 0.002))
    assert (m.counts["late_fills"], m.counts["repeated_fills"]) == (2, 1)
    recorder = m._observer._all[0]
    assert isinstance(recorder, RunRecorder)
    assert [(f.side, f.lots, f.commission) for f in recorder.fills] == [(BID, 1, 0.002)] * 2


def test_in_a_simulation_a_fill_of_an_unknown_order_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    m = maker(ExactFills())
    monkeypatch.setattr(MarketMaker, "cancel_all_orders", lambda self, _: None)
    monkeypatch.setattr(MarketMaker, "stop", lambda self: None)
    m.on_order_filled(fill("a"))
    assert isinstance(m.failure, RuntimeError)


def test_commission_is_exact() -> None:
    m = maker()
    m.orders.working.sent(KEY, BID, 100_000, 3)
    seen: list[OwnFill] = []

    class Watch(Observer):
        def on_fill(self, fill: OwnFill) -> None:
            seen.append(fill)

    m._observer.add(Watch())
    m.on_order_filled(fill("a", 3))
    assert seen[0].commission == Decimal("0.002")
