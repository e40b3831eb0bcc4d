"""The simulated exchange: where our orders stand in a market that does not know of them.

Backtest and paper trading share it: how long commands take, what a cancel does on a feed of snapshots,
which lots of the market's are ours, what a fill costs. It knows no engine; whoever hosts it hands it the
market's events and the commands that have arrived, and tells the maker what came of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from nautilus_trader.model import ClientOrderId, OrderBookDeltas, TradeTick
from numpy.typing import NDArray

from market.events import OrderKey
from market.nautilus import Decoder, Instrument, owners
from venues.simulation.fees import FeeSchedule
from venues.simulation.latency import CommandPath
from venues.simulation.matcher import Matcher, QueuePosition
from venues.simulation.queues import QueueModel
from venues.simulation.recorded_book import RecordedBook, RecordedOrders, rows_of, would_take

type Decode = Callable[[OrderBookDeltas], tuple[NDArray[np.int64], int, bool]]


class SimulatedExchange:
    """One instrument's exchange.

    Parameters
    ----------
    instrument : Instrument
    queue : QueueModel or None
        Without one nobody is matched here: Nautilus' own queue decides, and cancels wait for nothing.
    latency : CommandPath
    fees : FeeSchedule
    snapshots : bool
        The feed tells of an interval at its end: a cancel that arrives within one takes effect with it,
        after the trades that came before the cancel.
    names_orders : bool
        The recording names orders (L3), and the queue model asks for them.
    decode : callable, optional
        Gives an update's rows where somebody has decoded it already.

    """

    def __init__(
        self,
        instrument: Instrument,
        queue: QueueModel | None,
        latency: CommandPath,
        fees: FeeSchedule,
        *,
        snapshots: bool = False,
        names_orders: bool = False,
        decode: Decode | None = None,
    ) -> None:
        self.instrument, self.fees = instrument, fees
        self.book = RecordedOrders() if names_orders else RecordedBook(instrument.depth)
        self.matcher = Matcher(queue, self.book, snapshots) if queue is not None else None
        self._holds_cancels = snapshots and queue is not None
        self._latency = latency
        self._decoder = Decoder(instrument)
        self._decode = decode if decode is not None else self._decoder.book
        self._held: list[ClientOrderId] = []

    @property
    def counts(self) -> dict[str, int]:
        """What the matcher counted, and lots held both long and short."""
        matched = dict(self.matcher.counts) if self.matcher is not None else {}
        return {**matched, "locked_lots": self.fees.locked_lots}

    # ── commands ──────────────────────────────────────────────────────────────────────────────

    def arrival_ns(self, now_ns: int) -> int:
        """When commands decided now reach the exchange; never before those decided earlier."""
        return self._latency.arrival_ns(now_ns)

    def would_take(self, side: int, price: int) -> bool:
        """Whether an order would trade at once: a post-only one is refused then."""
        return bool(would_take(self.book.shown, side, price))

    def rest(self, key: ClientOrderId, side: int, price: int, lots: int, now_ns: int) -> None:
        """An order rests (price in ticks)."""
        if self.matcher is not None:
            self.matcher.place(key, side, price, lots, now_ns)

    def resize(self, key: ClientOrderId, left: int) -> None:
        """An order has been amended to `left` lots, keeping its place."""
        if self.matcher is not None:
            self.matcher.resize(key, left)

    def cancel(self, key: ClientOrderId, now_ns: int) -> bool:
        """A cancel has arrived; whether it takes effect now. If not, `end_interval` gives the order later."""
        if not self._holds_cancels or self.matcher is None:
            return True
        self.matcher.leave(key, now_ns)
        self._held.append(key)
        return False

    def end_interval(self) -> list[ClientOrderId]:
        """A book update ends an interval: the orders whose cancels arrived in it, to be cancelled now."""
        held, self._held = self._held, []
        return held

    def remove(self, key: ClientOrderId) -> None:
        """An order rests no more."""
        if self.matcher is not None:
            self.matcher.remove(key)

    # ── the market ────────────────────────────────────────────────────────────────────────────

    def see(self, event: TradeTick | OrderBookDeltas) -> list[QueuePosition]:
        """The market moves by an event; return the orders of ours that it reached."""
        if isinstance(event, TradeTick):
            if not self.matcher:
                return []
            return self.matcher.on_trade(event.ts_init, event.ts_event, *self._decoder.trade(event))
        return self._on_deltas(event)

    def claim(self, key: OrderKey) -> int:
        """Lots that the last event gave an order; they count as filled from now on."""
        return self.matcher.claim(key) if self.matcher is not None else 0

    def _on_deltas(self, deltas: OrderBookDeltas) -> list[QueuePosition]:
        self._latency.see(deltas.ts_init, deltas.ts_event)
        changes, count, clear = self._decode(deltas)
        book = self.book
        stood = joined = _UNNAMED
        if isinstance(book, RecordedOrders):
            stood, joined = book.take(changes[:count], owners(deltas), clear)
        else:
            book.apply(changes, count, clear)
        if self.matcher is None:
            return []
        rows = rows_of(changes[:count], stood, joined)
        return self.matcher.on_book(deltas.ts_init, deltas.ts_event, rows, clear)


_UNNAMED = np.zeros(0, np.int64)
