"""Which of our resting orders a recorded market would have filled: queue places, trades, crossings.

Nothing here moves the market: recorded trades and books are what they were, and our orders take from
them what would have reached them first. Price decides, then time; a lot that filled one of our
orders fills no other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from market.events import ASK, BID, BUY, SELL, OrderKey
from venues.simulation.queues import FOREVER, QueueModel, QueuePosition

_CREDIT_NS = 1_000_000_000  # a shrink that has not come by then was offset by new orders


class Shown(Protocol):
    """What the recording shows."""

    def is_shown(self, side: int, price: int) -> bool:
        """Whether the recording shows what rests at a price."""

    def lots(self, side: int, price: int) -> int:
        """Lots of others at a price."""

    def best(self, side: int) -> int:
        """Best price of a side in ticks, 0 where the side is empty."""

    def orders(self, side: int, price: int) -> Mapping[int, int] | None:
        """Lots by order id at a price, first come first, where the recording names orders."""


class Matcher:
    """Our orders at one venue.

    Parameters
    ----------
    model : QueueModel
    book : Shown
        The book AFTER the update at hand when `on_book` is called.
    snapshots : bool
        Trades are those of the interval since the last book (CTP): an order takes part in the
        share of them that fell, at an even pace, into its life.
    shared : bool
        Orders of ours at one price share one queue. False treats each order as if it stood there
        alone (hypothetical orders of a calibration).

    """

    def __init__(self, model: QueueModel, book: Shown, snapshots: bool = False, shared: bool = True) -> None:
        self.counts: Counter[str] = Counter()
        self._model, self._book = model, book
        self._snapshots, self._shared = snapshots, shared
        self._levels: tuple[dict[int, list[QueuePosition]], ...] = ({}, {}, {})  # by side, by price
        self._places: dict[OrderKey, QueuePosition] = {}
        self._beyond_depth: dict[OrderKey, QueuePosition] = {}
        self._credited: list[QueuePosition] = []
        self._consumed: dict[tuple[int, int], int] = {}
        self._last_ns = self._event_ns = 0

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: OrderKey) -> QueuePosition | None:
        """A resting order's place."""
        return self._places.get(key)

    # ── our orders ────────────────────────────────────────────────────────────────────────────

    def place(self, key: OrderKey, side: int, price: int, lots: int, now_ns: int) -> QueuePosition:
        """An order of ours arrives at the venue and rests."""
        place = QueuePosition(key, side, price, lots, now_ns, self._event_ns)
        if self._book.is_shown(side, price):
            self._model.placed(place, self._book.lots(side, price), self._book.orders(side, price))
        else:
            place.beyond_depth = True
            self._beyond_depth[key] = place
        self._places[key] = place
        self._levels[side].setdefault(price, []).append(place)
        return place

    def leave(self, key: OrderKey, now_ns: int) -> None:
        """A cancel has arrived: no trade after this moment is ours."""
        place = self._places.get(key)
        if place is not None:
            place.until_ns = now_ns

    def resize(self, key: OrderKey, left: int) -> None:
        """An amendment: fewer lots keep their place."""
        place = self._places.get(key)
        if place is not None:
            place.left = left
            if left <= 0:
                self.remove(key)

    def remove(self, key: OrderKey) -> None:
        """An order is gone: cancelled, filled or expired."""
        place = self._places.pop(key, None)
        if place is None:
            return
        self._beyond_depth.pop(key, None)
        level = self._levels[place.side][place.price]
        level.remove(place)
        if not level:
            del self._levels[place.side][place.price]

    def claim(self, key: OrderKey) -> int:
        """Lots that the event at hand filled; they count as filled from now on."""
        place = self._places.get(key)
        if place is None or not place.fill:
            return 0
        lots, place.fill = min(place.fill, place.left), 0
        place.left -= lots
        if place.left <= 0:
            self.remove(key)
        return lots

    # ── the market ────────────────────────────────────────────────────────────────────────────

    def on_trade(self, ts_ns: int, ts_event: int, price: int, lots: int, aggressor: int) -> list[QueuePosition]:
        """Take a trade; return the orders of ours it reached."""
        side = BID if aggressor == SELL else ASK if aggressor == BUY else self._hit_side(price)
        levels = self._levels[side]
        if not levels:
            return []
        sign = 1 if side == BID else -1
        reached: list[QueuePosition] = []
        rest = lots
        if self._model.fills_through:
            beyond = [p for p in levels if sign * (p - price) > 0]
            for own_price in sorted(beyond, key=lambda p: -sign * p):
                for place in levels[own_price]:
                    if self._model.books_first and ts_event <= place.seen_ns:
                        continue  # printed late: it traded before our order came
                    place.ahead = 0.0
                    took = min(place.left - place.fill, rest, self._share(place, ts_ns, lots))
                    if took > 0:
                        self.counts["filled_through"] += took
                        rest -= self._give(place, took, reached)
        for place in levels.get(price, ()):
            if not place.beyond_depth:
                self._model.traded(place, lots, lots - rest, ts_event)
                self._credited.append(place)
                took = min(self._model.filled(place), self._share(place, ts_ns, lots))
                if took > 0:
                    rest -= self._give(place, took, reached)
        return reached

    def on_book(
        self,
        ts_ns: int,
        ts_event: int,
        rows: Sequence[Sequence[int]],
        owners: Sequence[int] = (),
        clear: bool = False,
    ) -> list[QueuePosition]:
        """Take a whole book update; return the orders of ours it reached.

        Parameters
        ----------
        ts_ns, ts_event : int
            Time of arrival and the exchange's.
        rows : sequence of (side, price, size)
        owners : sequence of int
            The order behind each row (L3); empty where unknown.
        clear : bool
            The book was emptied first: what is not among the rows is gone.

        """
        self._last_ns = ts_ns
        self._event_ns = max(self._event_ns, ts_event)
        if not self._places:
            self._consumed.clear()
            return []
        levels, model, consumed = self._levels, self._model, self._consumed
        if clear:
            self._vanish({(side, price) for side, price, _ in rows}, ts_event)
        for i, (side, price, size) in enumerate(rows):
            if consumed and (side, price) in consumed:
                self._spend(side, price, size)
            for place in levels[side].get(price, ()):
                if not place.beyond_depth:
                    model.changed(place, size, ts_event, owners[i] if owners else 0)
        if self._credited:
            self._expire(ts_event)
        if self._beyond_depth:
            self._look()
        return self._cross(ts_ns)

    def _vanish(self, kept: set[tuple[int, int]], ts_event: int) -> None:
        """The book was emptied: what does not come back and would be shown is gone."""
        for place in self._places.values():
            gone = not place.beyond_depth and (place.side, place.price) not in kept
            if gone and self._book.is_shown(place.side, place.price):
                self._model.changed(place, 0, ts_event)

    def _expire(self, ts_event: int) -> None:
        """Trades whose shrink does not come: new orders took the place of what they took."""
        for place in self._credited:
            if self._snapshots or ts_event > place.credit_ns + _CREDIT_NS:
                place.credit = 0.0
        self._credited = [place for place in self._credited if place.credit]

    def _look(self) -> None:
        """Where a price comes into view, all that is shown there stands before us."""
        book = self._book
        for place in [p for p in self._beyond_depth.values() if book.is_shown(p.side, p.price)]:
            del self._beyond_depth[place.key]
            place.beyond_depth = False
            self._model.placed(place, book.lots(place.side, place.price), book.orders(place.side, place.price))

    def _cross(self, ts_ns: int) -> list[QueuePosition]:
        """A book that stands through our price has used us up; one that stands at it hits us for what it shows."""
        reached: list[QueuePosition] = []
        bids, asks = self._levels[BID], self._levels[ASK]
        if bids and 0 < self._book.best(ASK) <= max(bids):
            self._crossed(BID, ASK, ts_ns, reached)
        if asks and self._book.best(BID) >= min(asks):
            self._crossed(ASK, BID, ts_ns, reached)
        return reached

    def _crossed(self, side: int, other: int, ts_ns: int, reached: list[QueuePosition]) -> None:
        levels, best = self._levels[side], self._book.best(other)
        sign = 1 if side == BID else -1
        for price in sorted((p for p in levels if sign * (p - best) >= 0), key=lambda p: -sign * p):
            free = FOREVER
            if price == best:
                free = self._book.lots(other, best) - self._consumed.get((other, best), 0)
            for place in levels[price]:
                took = min(place.left - place.fill, free)
                if took > 0 and place.until_ns >= ts_ns:
                    self.counts["filled_crossed"] += took
                    self._give(place, took, reached)
                    if price == best and self._shared:
                        free -= took
                        self._consumed[other, best] = self._consumed.get((other, best), 0) + took

    def _give(self, place: QueuePosition, lots: int, reached: list[QueuePosition]) -> int:
        """Let an order have lots; return how many no other order of ours may have."""
        place.fill += lots
        reached.append(place)
        return lots if self._shared else 0

    def _share(self, place: QueuePosition, ts_ns: int, lots: int) -> int:
        """Lots of a trade that fell into an order's life."""
        if not self._snapshots or (place.from_ns <= self._last_ns and place.until_ns >= ts_ns):
            return lots
        alive = min(place.until_ns, ts_ns) - max(place.from_ns, self._last_ns)
        return round(lots * max(alive, 0) / max(ts_ns - self._last_ns, 1))

    def _spend(self, side: int, price: int, size: int) -> None:
        """What we took of a standing level is no more than stands."""
        left = min(self._consumed[side, price], size)
        if left:
            self._consumed[side, price] = left
        else:
            del self._consumed[side, price]

    def _hit_side(self, price: int) -> int:
        """The side that a trade of unknown aggressor hit: the nearer one."""
        bid, ask = self._book.best(BID), self._book.best(ASK)
        if not bid or not ask:
            return BID if not ask else ASK
        return BID if 2 * price <= bid + ask else ASK
