"""The order gateway as the maker sees it: commands out, in ticks and lots; nothing here knows where they go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from nautilus_trader.model import ClientOrderId, OrderBookDeltas, TradeTick
from nautilus_trader.trading import Strategy


class OrderGateway(Protocol):
    """Between the maker and the exchange: direct in paper and live trading, simulated in a backtest.

    Commands are collected and go out together with `flush`. The `before_…` and `on_…` calls tell a
    simulated exchange what it would know by itself if it were a real one.
    """

    sent: int
    """Commands handed on so far."""

    def attach(self, strategy: Strategy, guarded: Callable[[Callable[[], None]], None]) -> None:
        """The strategy whose commands these are; `guarded` runs what is done later than it was asked for."""

    def submit(self, side: int, price: int, lots: int) -> ClientOrderId:
        """A post-only limit order; return the id that its events will carry."""

    def amend(self, key: ClientOrderId, lots: int) -> None:
        """An order is to have `lots` altogether, those that have filled included."""

    def cancel(self, key: ClientOrderId) -> None:
        """An order is to go."""

    def flush(self) -> None:
        """Send the commands that were given since the last time."""

    def before_trade(self, trade: TradeTick) -> None:
        """A trade, before the maker takes it."""

    def before_book(self, deltas: OrderBookDeltas) -> None:
        """A book update, before the maker takes it."""

    def on_accepted(self, key: ClientOrderId, side: int, price: int, left: int) -> None:
        """An order rests."""

    def on_amended(self, key: ClientOrderId, left: int) -> None:
        """An order has `left` lots now and keeps its place."""

    def on_closed(self, key: ClientOrderId) -> None:
        """An order rests no more."""
