"""A maker that a test leads through a market step by step, without an engine."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from nautilus_trader.model import InstrumentId, Money, OrderBookDeltas, OrderSide

from engine.backtest import make_instrument
from engine.tape import Tape
from models.features import FeatureSpec
from models.predictor import Predictor
from strategies.differ import DifferConfig
from strategies.feed import Feed
from strategies.guard import DataGuardConfig, GuardConfig
from strategies.ladder import LadderConfig
from strategies.limits import LimitsConfig
from strategies.maker import MakerConfig, MarketMaker
from strategies.quoters import CmmConfig, CmmQuoter, FoicQuoter, OffsetConfig
from venues.contracts import ContractTable
from venues.events import ASK, BID, Level
from venues.nautilus import DeltaMaker, Units

CONTRACT = ContractTable().by_id("BTCUSDT-LINEAR.BYBIT")
DELTAS, UNITS, ID = DeltaMaker(CONTRACT), Units(CONTRACT), InstrumentId.from_str(CONTRACT.id)
S = 10**9
STEP = S // 10
ASKS: list[Level] = [(ASK, 100_002, 50), (ASK, 100_003, 50)]
BIDS: list[Level] = [(BID, 100_000, 50), (BID, 99_999, 50)]
CONFIG = MakerConfig(
    LadderConfig(), DifferConfig(), LimitsConfig(), GuardConfig(), 0.0, [(0, 10**15)], CONTRACT.worth,
    CONTRACT.turnover, is_live=True,
)  # fmt: skip
"""The defaults, and one session that lasts."""


class Market:
    """A maker, a book that it is shown, and a venue that does at once what it is told."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        data: DataGuardConfig = DataGuardConfig(),  # noqa: B008 a frozen value
        predictor: Predictor | None = None,
        **changes: Any,
    ) -> None:
        self.now, self.resubscribed, self.is_answering = 1_000 * S, 0, True
        self.orders: dict[str, tuple[int, int]] = {}
        """Side and price of every order that the venue was sent."""
        self.cancelled: list[str] = []
        guard = msgspec.structs.replace(changes.pop("guard", CONFIG.guard), data=data)
        config = msgspec.structs.replace(CONFIG, guard=guard, **changes)
        instrument, keys, trades = make_instrument(CONTRACT, 50), count(), count()
        spec = predictor.manifest.spec if predictor is not None else FeatureSpec()
        feed = Feed(instrument, msgspec.structs.replace(spec, warm_up_s=0.0))
        quoter = CmmQuoter(CmmConfig(), 0.0) if predictor is not None else FoicQuoter(OffsetConfig())
        self.maker = m = MarketMaker(config, instrument, feed, quoter, predictor, Tape(), now=lambda: self.now)
        self._trades = trades

        def make(_: Any, side: OrderSide, quantity: Any, price: Any, **__: Any) -> Any:
            key = f"O-{next(keys)}"
            self.orders[key] = (BID if side == OrderSide.BUY else ASK, price.raw // UNITS.tick_raw)
            return SimpleNamespace(client_order_id=key)

        def submit(_: Any, order: Any) -> None:
            if self.is_answering:
                m.on_order_accepted(order)

        def cancel(_: Any, key: str) -> None:
            self.cancelled.append(key)
            if self.is_answering:
                m.on_order_canceled(SimpleNamespace(client_order_id=key))

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
        ours = [o for o in self.maker.working.all() if o.side == side]
        order = max(ours, key=lambda o: o.price if side == BID else -o.price)
        self.maker.on_order_filled(
            SimpleNamespace(
                client_order_id=order.key,
                trade_id=f"T-{next(self._trades)}",
                last_qty=UNITS.quantity(lots),
                last_px=UNITS.price(price if price is not None else order.price),
                order_side=OrderSide.BUY if side == BID else OrderSide.SELL,
                commission=Money.from_str("0 USDT"),
                liquidity_side=SimpleNamespace(name="MAKER"),
                ts_event=self.now,
            )
        )

    def resting(self, side: int | None = None) -> int:
        """Orders of ours at the venue."""
        return sum(side in (None, o.side) for o in self.maker.working.all())
