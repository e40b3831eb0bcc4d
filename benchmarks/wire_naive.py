"""A strategy that sends one command at each book update, through the adapter that the trader uses."""

from __future__ import annotations

import sys
from typing import Any

from nautilus_trader.model import BookType, InstrumentId, OrderBookDeltas, OrderSide, Price, Quantity, StrategyId
from nautilus_trader.trading import Strategy, StrategyConfig

from engine.config import LiveConfig
from engine.live.safety.account import keys
from engine.live.trading.node import make_builder
from venues.live.adapters import add_bybit_execution, add_public_data
from venues.live.adapters_config import AdapterConfig
from venues.loopback.market import SYMBOL

_MOVE = 6  # changes of levels in an update that moves the book


class Naive(Strategy):
    """Places an order far from the market, then cancels it, then places one …"""

    def __new__(cls) -> Naive:
        made: Naive = super().__new__(cls, StrategyConfig(strategy_id=StrategyId("CMM-001")))  # type: ignore[call-arg]
        return made

    def __init__(self) -> None:
        super().__init__(StrategyConfig(strategy_id=StrategyId("CMM-001"), log_events=False, log_commands=False))
        self._id = InstrumentId.from_str(SYMBOL)
        self._resting: Any = None

    def on_start(self) -> None:
        self.subscribe_book_deltas(self._id, BookType.L2_MBP)

    def on_book_deltas(self, deltas: OrderBookDeltas) -> None:
        if len(deltas.deltas) < _MOVE:
            return  # our own order coming or going
        if self._resting is None:
            order = self.order_factory.limit(
                self._id, OrderSide.BUY, Quantity(0.001, 3), Price(900.0, 1), post_only=True
            )
            self._resting = order.client_order_id
            self.submit_order(order)
        else:
            self.cancel_order(self._resting)
            self._resting = None


if __name__ == "__main__":
    builder = make_builder(live=True)
    builder = add_public_data(builder, "bybit", AdapterConfig(base_url=sys.argv[1]), SYMBOL)
    builder = add_bybit_execution(builder, "testnet", sys.argv[1], *keys(LiveConfig()))
    node = builder.build()
    node.add_strategy(Naive())
    node.run()
