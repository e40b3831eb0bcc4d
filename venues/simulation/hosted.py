"""The simulated exchange inside Nautilus' backtest engine.

Nautilus asks a fill model what a resting order may take of a trade at or through its price, or of a
book that crosses it. The fill model then lets the matcher take the event being matched and hands out
what the matcher gives. Accounts, order states, post-only checks and fees stay Nautilus'. (A simulation
module would be shown each event before it is matched, but Nautilus builds it a context of books and
positions each time: that cost a third of the rate.)
"""

from __future__ import annotations

from nautilus_trader.execution import FillModel
from nautilus_trader.model import (
    BookOrder,
    BookType,
    ClientOrderId,
    LimitOrder,
    OrderBook,
    OrderBookDeltas,
    OrderSide,
    Price,
    Quantity,
    TradeTick,
)

from market.nautilus import NautilusInstrument
from venues.gateway import DirectGateway, Send
from venues.simulation.exchange import SimulatedExchange


class SimulatedGateway(DirectGateway):
    """The way of a backtest's commands: they arrive after the exchange's latency, and Nautilus then has them at once.

    Keeps the exchange one event ahead of the maker, as far as Nautilus has matched.
    """

    def __init__(self, exchange: SimulatedExchange) -> None:
        super().__init__(exchange.instrument)
        self.exchange = exchange
        self.too_late = 0
        """Commands for orders that were gone when they arrived."""
        self.failure: Exception | None = None
        self._alerts = 0
        self._events: list[TradeTick | OrderBookDeltas] = []
        self._next = self._delivered = 0

    @property
    def counts(self) -> dict[str, int]:
        """What exchange and gateway counted."""
        late = {"too_late": self.too_late} if self.too_late else {}
        return {**late, **self.exchange.counts}

    def now_ns(self) -> int:
        """The backtest's time."""
        return int(self.strategy.clock.timestamp_ns())

    # ── commands ──────────────────────────────────────────────────────────────────────────────

    def flush(self) -> None:
        batch = self._take_batch()
        self._alerts += 1
        at = self.exchange.arrival_ns(self.now_ns())
        self.strategy.clock.set_time_alert_ns(  # of alerts for one moment the first by name: the maker's "check"
            f"command-{self._alerts}", at, lambda _: self._guarded(lambda: _run(batch))
        )

    def _amend(self, key: ClientOrderId, quantity: Quantity) -> None:
        if self._is_gone(key):
            return
        super()._amend(key, quantity)

    def _cancel(self, key: ClientOrderId) -> None:
        if not self._is_gone(key) and self.exchange.cancel(key, self.now_ns()):
            super()._cancel(key)

    def _is_gone(self, key: ClientOrderId) -> bool:
        """Whether an order has ended on the way: it is past amending and cancelling."""
        known = self.strategy.cache.order(key)
        if known is not None and not known.is_closed:
            return False
        self.too_late += 1
        return True

    # ── the market ────────────────────────────────────────────────────────────────────────────

    def load(self, events: list[TradeTick | OrderBookDeltas]) -> None:
        """Take the events that the engine will run next, in order."""
        self._events, self._next, self._delivered = events, 0, 0

    def before_trade(self, trade: TradeTick) -> None:
        self._deliver()

    def before_book(self, deltas: OrderBookDeltas) -> None:
        self._deliver()
        for key in self.exchange.end_interval():
            known = self.strategy.cache.order(key)
            if known is not None and not known.is_closed:
                super()._cancel(key)

    def claim(self, key: ClientOrderId) -> int:
        """Lots that the event being matched gives an order.

        Nautilus asks before the strategy hears of the event: it is the one after those delivered,
        unless only a command of ours is being processed.
        """
        if self._next == self._delivered < len(self._events) and self._events[self._next].ts_init <= self.now_ns():
            self._advance()
        return self.exchange.claim(key)

    def _deliver(self) -> None:
        """Nautilus has matched the next event and hands it to the strategy."""
        if self.failure is not None:
            raise self.failure
        self._delivered += 1
        if self._next < self._delivered:
            self._advance()

    def _advance(self) -> None:
        event = self._events[self._next]
        self._next += 1
        if self.exchange.matcher is not None:
            self.exchange.see(event)

    # ── our orders ────────────────────────────────────────────────────────────────────────────

    def on_accepted(self, key: ClientOrderId, side: int, price: int, left: int) -> None:
        self.exchange.rest(key, side, price, left, self.now_ns())

    def on_amended(self, key: ClientOrderId, left: int) -> None:
        self.exchange.resize(key, left)

    def on_closed(self, key: ClientOrderId) -> None:
        self.exchange.remove(key)


def _run(batch: list[Send]) -> None:
    for send in batch:
        send()


class QueueFills(FillModel):
    """Hands out what the matcher gave; orders that are no resting makers of ours take from the book."""

    def __new__(cls, gateway: SimulatedGateway) -> QueueFills:
        made: QueueFills = super().__new__(cls)
        return made

    def __init__(self, gateway: SimulatedGateway) -> None:
        self._gateway = gateway

    def is_limit_filled(self) -> bool:
        return True

    def is_slipped(self) -> bool:
        return False

    def fill_limit_inside_spread(self) -> bool:
        return False

    def get_orderbook_for_fill_simulation(
        self,
        instrument: NautilusInstrument,
        order: LimitOrder,
        best_bid: Price | None = None,
        best_ask: Price | None = None,
    ) -> OrderBook | None:
        if not order.is_post_only:
            return None
        book = OrderBook(instrument.id, BookType.L2_MBP)
        try:
            lots = self._gateway.claim(order.client_order_id)
        except Exception as error:  # Nautilus would swallow it
            self._gateway.failure = self._gateway.failure or error
            return book
        if lots:
            size = self._gateway.exchange.instrument.quantity(lots)
            side = OrderSide.SELL if order.side == OrderSide.BUY else OrderSide.BUY
            book.add(BookOrder(side, order.price, size, 1), 0, 0, 0)
        return book
