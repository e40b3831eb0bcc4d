"""The direct order gateway: commands go to Nautilus at once; its execution client takes them to the exchange."""

from __future__ import annotations

from collections.abc import Callable

from nautilus_trader.model import ClientOrderId, InstrumentId, OrderBookDeltas, OrderSide, Quantity, TradeTick
from nautilus_trader.trading import Strategy

from market.events import BID
from market.nautilus import Instrument

type Send = Callable[[], None]


class DirectGateway:
    """Turns the maker's commands, in ticks and lots, into Nautilus' and sends them when they are flushed.

    Commands of one decision go out together. Only `attach` knows the strategy: what it is asked for is
    Nautilus' cache, order factory and command methods.
    """

    def __init__(self, instrument: Instrument) -> None:
        self.sent = 0
        """Commands handed to Nautilus."""
        self._instrument = instrument
        self._id = InstrumentId.from_str(instrument.id)
        self._batch: list[Send] = []
        self._strategy: Strategy | None = None

    def attach(self, strategy: Strategy, guarded: Callable[[Send], None]) -> None:
        """The strategy whose commands these are; `guarded` runs what is done later than it was asked for."""
        self._strategy, self._guarded = strategy, guarded

    @property
    def strategy(self) -> Strategy:
        """The strategy that is attached."""
        if self._strategy is None:
            raise RuntimeError("the gateway serves no strategy yet")
        return self._strategy

    # ── commands ──────────────────────────────────────────────────────────────────────────────

    def submit(self, side: int, price: int, lots: int) -> ClientOrderId:
        """A post-only limit order; return the id that its events will carry."""
        unit = self._instrument
        order = self.strategy.order_factory.limit(
            self._id, OrderSide.BUY if side == BID else OrderSide.SELL, unit.quantity(lots), unit.price(price),
            post_only=True,
        )  # fmt: skip
        self._batch.append(lambda: self._submit(order))
        key: ClientOrderId = order.client_order_id
        return key

    def amend(self, key: ClientOrderId, lots: int) -> None:
        """An order is to have `lots` altogether, those that have filled included."""
        quantity = self._instrument.quantity(lots)
        self._batch.append(lambda: self._amend(key, quantity))

    def cancel(self, key: ClientOrderId) -> None:
        """An order is to go."""
        self._batch.append(lambda: self._cancel(key))

    def flush(self) -> None:
        """Send the commands that were given since the last time."""
        for send in self._take_batch():
            send()

    def _take_batch(self) -> list[Send]:
        batch, self._batch = self._batch, []
        return batch

    def _submit(self, order: object) -> None:
        self.sent += 1
        self.strategy.submit_order(order)

    def _amend(self, key: ClientOrderId, quantity: Quantity) -> None:
        known = self.strategy.cache.order(key)
        if known is not None and known.filled_qty < quantity:
            self.sent += 1
            self.strategy.modify_order(key, quantity=quantity)
        else:  # more has filled than the order was to have at all
            self._cancel(key)

    def _cancel(self, key: ClientOrderId) -> None:
        self.sent += 1
        self.strategy.cancel_order(key)

    # ── what a simulated exchange wants to know ───────────────────────────────────────────────

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
