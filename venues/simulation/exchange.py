"""Our matcher inside Nautilus' simulated exchange.

Nautilus asks a fill model what a resting order may take of a trade at or through its price, or of a
book that crosses it. The fill model then lets the matcher take the event being matched and hands out
what the matcher gives. Accounts, order states, post-only checks and fees stay Nautilus'. (A simulation
module would be shown each event before it is matched, but Nautilus builds it a context of books and
positions each time: that cost a third of the rate.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from nautilus_trader.execution import FillModel
from nautilus_trader.model import (
    BookOrder,
    BookType,
    OrderBook,
    OrderBookDeltas,
    OrderSide,
    Price,
    TradeTick,
)
from numpy.typing import NDArray

from market.array_book import ArrayBook, edges, take
from market.events import BID
from market.nautilus import Decoder, Instrument, owners
from venues.simulation.latency import CommandPath
from venues.simulation.matcher import Matcher
from venues.simulation.queues import Place, QueueModel

type Peek = Callable[[OrderBookDeltas], tuple[NDArray[np.int64], int, bool]]


class RecordedBook:
    """The recorded book, as far as the feed shows it. A side with fewer levels than the feed can show
    ends there; prices beyond the last that it shows are unknown."""

    def __init__(self, depth: int) -> None:
        self._book, self._depth = ArrayBook(), depth
        self._edges = np.zeros(4, np.int64)
        edges(self._book.price, self._book.count, depth, self._edges)
        self._best_bid, self._last_bid, self._best_ask, self._last_ask = self._edges.tolist()

    def apply(self, changes: NDArray[np.int64], count: int, clear: bool) -> None:
        book = self._book
        take(book.price, book.size, book.count, changes, count, clear, self._depth, self._edges)
        self._best_bid, self._last_bid, self._best_ask, self._last_ask = self._edges.tolist()

    def is_shown(self, side: int, price: int) -> bool:
        return bool(price >= self._last_bid if side == BID else price <= self._last_ask)

    def lots(self, side: int, price: int) -> int:
        return self._book.lots(side, price)

    def top(self, side: int, levels: int) -> list[tuple[int, int]]:
        """Best levels of a side as (price, lots)."""
        return self._book.top(side, levels)

    def best(self, side: int) -> int:
        return int(self._best_bid if side == BID else self._best_ask)

    def orders(self, side: int, price: int) -> Mapping[int, int] | None:
        return None


class RecordedOrders(RecordedBook):
    """The same of a recording that names orders (L3): who stands at each level."""

    def __init__(self) -> None:
        super().__init__(0)
        self._levels: dict[tuple[int, int], dict[int, int]] = {}

    def take(self, rows: Sequence[Sequence[int]], owners: Sequence[int], clear: bool) -> None:
        """Take a whole update of (side, price, size) with the orders behind it."""
        if clear:
            self._levels.clear()
        for (side, price, size), order in zip(rows, owners, strict=True):
            self._step(side, price, size, order)
        self.apply(np.array(rows, np.int64).reshape(-1, 3), len(rows), clear)

    def _step(self, side: int, price: int, size: int, order: int) -> None:
        """A level came to `size` lots by a change of one order."""
        if size == 0:
            self._levels.pop((side, price), None)
            return
        level = self._levels.setdefault((side, price), {})
        before = sum(level.values())
        left = level.get(order, 0) + size - before
        if size > before:
            level.pop(order, None)  # what grows goes to the end
        if left > 0:
            level[order] = left
        else:
            level.pop(order, None)

    def orders(self, side: int, price: int) -> Mapping[int, int]:
        return self._levels.get((side, price), {})


class SimulatedVenue:
    """The matcher with the times of arrival: the maker's link to the venue.

    Without a queue model there is no matcher and Nautilus' own queue decides; cancels then wait for
    nothing.
    """

    def __init__(
        self,
        model: QueueModel | None,
        instrument: Instrument,
        path: CommandPath,
        peek: Peek,
        now: Callable[[], int],
        snapshots: bool,
        named_orders: bool,
    ) -> None:
        self.snapshots = snapshots and model is not None
        self.book = RecordedOrders() if named_orders else RecordedBook(instrument.depth)
        self.matcher = Matcher(model, self.book, snapshots) if model is not None else None
        self.instrument = instrument
        self._decoder = Decoder(instrument)
        self._path, self._peek, self._now = path, peek, now
        self.failure: Exception | None = None
        self._events: list[Any] = []
        self._next = self._delivered = 0
        self._reached: list[Place] = []

    # ── the maker's side ──────────────────────────────────────────────────────────────────────

    def arrival_ns(self, now_ns: int) -> int:
        return self._path.arrival_ns(now_ns)

    def accepted(self, key: Any, side: int, price: int, lots: int, now_ns: int) -> None:
        if self.matcher is not None:
            self.matcher.place(key, side, price, lots, now_ns)

    def leaving(self, key: Any, now_ns: int) -> None:
        if self.matcher is not None:
            self.matcher.leave(key, now_ns)

    def resized(self, key: Any, left: int) -> None:
        if self.matcher is not None:
            self.matcher.resize(key, left)

    def gone(self, key: Any) -> None:
        if self.matcher is not None:
            self.matcher.remove(key)

    @property
    def counts(self) -> dict[str, int]:
        """What the matcher counted."""
        return dict(self.matcher.counts) if self.matcher is not None else {}

    # ── the market's side ─────────────────────────────────────────────────────────────────────

    def load(self, events: list[Any]) -> None:
        """Take the events that the engine will run next, in order."""
        self._events, self._next, self._delivered = events, 0, 0

    def delivered(self) -> None:
        """The engine has matched the next event and hands it to the strategy."""
        if self.failure is not None:
            raise self.failure
        self._delivered += 1
        if self._next < self._delivered:
            self._advance()

    def claim(self, key: Any) -> int:
        """Lots that the event being matched gives an order.

        Nautilus asks before the strategy hears of the event: it is the one after those delivered,
        unless only a command of ours is being processed.
        """
        if self.matcher is None:
            return 0
        if self._next == self._delivered < len(self._events) and self._events[self._next].ts_init <= self._now():
            self._advance()
        return self.matcher.claim(key)

    def _advance(self) -> None:
        event = self._events[self._next]
        self._next += 1
        if self.matcher is None:
            return
        for place in self._reached:
            if place.fill:  # nobody asked for it: it must not turn up at a later event
                self.matcher.counts["unclaimed_lots"] += place.fill
                place.fill = 0
        self._reached = self.see(event)

    def see(self, event: Any) -> list[Place]:
        """The market moves by an event; return the orders of ours that it reached."""
        return self._on_trade(event) if isinstance(event, TradeTick) else self._on_deltas(event)

    def _on_trade(self, trade: TradeTick) -> list[Place]:
        if not self.matcher:
            return []
        return self.matcher.on_trade(trade.ts_init, trade.ts_event, *self._decoder.trade(trade))

    def _on_deltas(self, deltas: OrderBookDeltas) -> list[Place]:
        self._path.see(deltas.ts_init, deltas.ts_event)
        changes, count, clear = self._peek(deltas)
        book = self.book
        rows = changes[:count].tolist()
        named: list[int] = []
        if isinstance(book, RecordedOrders):
            named = owners(deltas)
            book.take(rows, named, clear)
        else:
            book.apply(changes, count, clear)
        if self.matcher is None:
            return []
        return self.matcher.on_book(deltas.ts_init, deltas.ts_event, rows, named, clear)


class QueueFills(FillModel):
    """Hands out what the matcher gave; orders that are no resting makers of ours take from the book."""

    def __new__(cls, venue: SimulatedVenue) -> QueueFills:
        made: QueueFills = super().__new__(cls)
        return made

    def __init__(self, venue: SimulatedVenue) -> None:
        self._venue = venue

    def is_limit_filled(self) -> bool:
        return True

    def is_slipped(self) -> bool:
        return False

    def fill_limit_inside_spread(self) -> bool:
        return False

    def get_orderbook_for_fill_simulation(
        self, instrument: Any, order: Any, best_bid: Price | None = None, best_ask: Price | None = None
    ) -> OrderBook | None:
        if not order.is_post_only:
            return None
        book = OrderBook(instrument.id, BookType.L2_MBP)
        try:
            lots = self._venue.claim(order.client_order_id)
        except Exception as error:  # Nautilus would swallow it
            self._venue.failure = self._venue.failure or error
            return book
        if lots:
            size = self._venue.instrument.quantity(lots)
            side = OrderSide.SELL if order.side == OrderSide.BUY else OrderSide.BUY
            book.add(BookOrder(side, order.price, size, 1), 0, 0, 0)
        return book
