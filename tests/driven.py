"""A maker that a test leads through a market step by step, without an engine."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from nautilus_trader.model import InstrumentId, LiquiditySide, Money, OrderBookDeltas, OrderSide

from engine.backtest.run_recorder import RunRecorder
from market.contracts import ContractTable
from market.events import ASK, BID, Level
from market.nautilus import DeltaMaker, Instrument
from models.ensemble.predictor import Predictor
from models.features.book_features import FeatureSpec
from strategies.clock import ReplayedClock
from strategies.differ import DifferConfig
from strategies.feature_stream import FeatureStream
from strategies.fill_policy import ExactFills, VenueFills
from strategies.guard import DataGuardConfig, GuardConfig
from strategies.ladder import LadderConfig
from strategies.limits import LimitsConfig
from strategies.maker import MarketMaker
from strategies.quoters import CmmConfig, CmmQuoter, FoicQuoter, OffsetConfig
from strategies.subscription import LiveSubscription, RecordedSubscription
from strategies.wiring import MakerConfig, Ports, Quoting
from venues.gateway import DirectGateway

CONTRACT = ContractTable().by_id("BTCUSDT-LINEAR.BYBIT")
DELTAS, UNITS, ID = DeltaMaker(CONTRACT), Instrument(CONTRACT), InstrumentId.from_str(CONTRACT.id)
S = 10**9
STEP = S // 10
ASKS: list[Level] = [(ASK, 100_002, 50), (ASK, 100_003, 50)]
BIDS: list[Level] = [(BID, 100_000, 50), (BID, 99_999, 50)]
CONFIG = MakerConfig(
    LadderConfig(), DifferConfig(), LimitsConfig(), GuardConfig(), 0.0, [(0, 10**15)], CONTRACT.mark_value
)  # fmt: skip
"""The defaults, and one session that lasts."""


class StepClock(ReplayedClock):
    """The test's time; where the market is live, thinking takes a millisecond."""

    def __init__(self, market: Market, *, is_live: bool) -> None:
        super().__init__(lambda: market.now)
        self._is_live = is_live

    def took_ns(self, since_ns: int) -> int:
        return 1_000_000 if self._is_live else 0


class Market:
    """A maker, a book that it is shown, and a venue that does at once what it is told."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        data: DataGuardConfig = DataGuardConfig(),  # noqa: B008 a frozen value
        predictor: Predictor | None = None,
        is_live: bool = True,
        **changes: Any,
    ) -> None:
        self.now, self.resubscribed, self.is_answering = 1_000 * S, 0, True
        self.orders: dict[str, tuple[int, int]] = {}
        """Side and price of every order that the venue was sent."""
        self.cancelled: list[str] = []
        guard = msgspec.structs.replace(changes.pop("guard", CONFIG.guard), data=data)
        config = msgspec.structs.replace(CONFIG, guard=guard, **changes)
        instrument, keys, trades = Instrument(CONTRACT, 50), count(), count()
        spec = predictor.manifest.spec if predictor is not None else FeatureSpec()
        stream = FeatureStream(instrument, msgspec.structs.replace(spec, warm_up_s=0.0))
        quoter = CmmQuoter(CmmConfig(), 0.0) if predictor is not None else FoicQuoter(OffsetConfig())
        ports = Ports(
            DirectGateway(instrument), StepClock(self, is_live=is_live), VenueFills() if is_live else ExactFills(),
            LiveSubscription() if is_live else RecordedSubscription(), RunRecorder(),
        )  # fmt: skip
        self.maker = m = MarketMaker(config, instrument, Quoting(stream, quoter, predictor), ports)
        self._trades = trades

        def make(_: Any, side: OrderSide, quantity: Any, price: Any, **__: Any) -> Any:
            key = f"O-{next(keys)}"
            self.orders[key] = (BID if side == OrderSide.BUY else ASK, UNITS.ticks(price))
            return SimpleNamespace(client_order_id=key, ts_event=self.now)

        def submit(_: Any, order: Any) -> None:
            if self.is_answering:
                m.on_order_accepted(order)

        def cancel(_: Any, key: str) -> None:
            self.cancelled.append(key)
            if self.is_answering:
                m.on_order_canceled(SimpleNamespace(client_order_id=key, ts_event=self.now))

        def subscribe(*_: Any) -> None:
            self.resubscribed += 1

        factory = SimpleNamespace(limit=make)
        monkeypatch.setattr(MarketMaker, "order_factory", property(lambda _: factory))
        monkeypatch.setattr(MarketMaker, "submit_order", submit)
        monkeypatch.setattr(MarketMaker, "cancel_order", cancel)
        monkeypatch.setattr(MarketMaker, "unsubscribe_book_deltas", lambda *_: None)
        monkeypatch.setattr(MarketMaker, "subscribe_book_deltas", subscribe)
        self._turn = 0
        self.show([*BIDS, *ASKS], clear=True)
        self.rest(2.0)

    def show(self, changes: list[Level], clear: bool = False, lag: int = 0, sequence: int = 0) -> None:
        """A book update, which arrives a tenth of a second after the last one."""
        self.now += STEP
        rows = DELTAS.deltas(changes, sequence, self.now - lag, self.now, clear)
        self.maker.on_book_deltas(OrderBookDeltas(ID, rows))
        assert self.maker.failure is None

    def rest(self, seconds: float, lag: int = 0) -> None:
        """The market goes on far from the touch."""
        for _ in range(round(seconds * S / STEP)):
            self._turn += 1
            self.show([(BID, 99_900, 1 + self._turn % 2)], lag=lag)

    def move(self, ticks: int) -> None:
        """The whole book moves to other prices."""
        self.show([(side, price + ticks, lots) for side, price, lots in (*BIDS, *ASKS)], clear=True)

    def fill(self, side: int, price: int | None = None, lots: int = 1) -> None:
        """Somebody takes from our best order of a side."""
        ours = [o for o in self.maker.orders.working.all() if o.side == side]
        order = max(ours, key=lambda o: o.price if side == BID else -o.price)
        self.maker.on_order_filled(
            SimpleNamespace(
                client_order_id=order.key,
                trade_id=f"T-{next(self._trades)}",
                last_qty=UNITS.quantity(lots),
                last_px=UNITS.price(price if price is not None else order.price),
                order_side=OrderSide.BUY if side == BID else OrderSide.SELL,
                commission=Money.from_str("0 USDT"),
                liquidity_side=LiquiditySide.MAKER,
                ts_event=self.now,
            )
        )

    def resting(self, side: int | None = None) -> int:
        """Orders of ours at the venue."""
        return sum(side in (None, o.side) for o in self.maker.orders.working.all())
