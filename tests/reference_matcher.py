"""The matcher and its queue models in plain Python, slow and by the book: what the compiled ones are held against."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Protocol

from market.events import ASK, BID, BUY, SELL, OrderKey

FOREVER: Final = 1 << 62
_SHRINKS_KEPT = 16


class QueuePosition:
    """One resting order of ours and its place in the queue of its level.

    Attributes
    ----------
    ahead : float
        Lots of others before us.
    shown : int
        Lots of others at the level, as last seen.
    credit : float
        Lots that traded here and whose shrink of the level has not been seen yet.
    unmatched_shrinks : list
        Shrinks seen before the trades that may explain them: [exchange time, lots, our advance].
    seen_ns : int
        Exchange time of the book that stood when the order arrived.
    from_ns, until_ns : int
        When the order arrived and when its cancel did.
    beyond_depth : bool
        The recording shows nothing at this price: the queue is unknown.
    fill : int
        Lots that are ours and not yet claimed.

    """

    __slots__ = (
        "ahead",
        "beyond_depth",
        "credit",
        "credit_ns",
        "fill",
        "from_ns",
        "key",
        "left",
        "orders",
        "price",
        "seen_ns",
        "shown",
        "side",
        "unmatched_shrinks",
        "until_ns",
    )  # fmt: skip

    def __init__(self, key: OrderKey, side: int, price: int, left: int, from_ns: int, seen_ns: int) -> None:
        self.key, self.side, self.price, self.left = key, side, price, left
        self.from_ns, self.until_ns, self.seen_ns = from_ns, FOREVER, seen_ns
        self.ahead = self.credit = 0.0
        self.shown = self.credit_ns = self.fill = 0
        self.beyond_depth = False
        self.unmatched_shrinks: list[list[float]] = []
        self.orders: dict[int, int] = {}


class QueueModel(ABC):
    """The interface; times are the exchange's, sizes lots.

    Parameters
    ----------
    books_first : bool
        The feed shows a level shrink before the trade that shrank it (as Binance's best quotes do).
        A trade then looks for its shrink among those already seen, and what that shrink advanced us
        as a cancel is taken back, lest it count twice.

    """

    name: ClassVar[str]
    fills_through: ClassVar[bool] = True
    """Whether a trade beyond our price finds our queue used up and fills us."""

    def __init__(self, books_first: bool = False) -> None:
        self.books_first = books_first

    def placed(self, place: QueuePosition, shown: int, orders: Mapping[int, int] | None = None) -> None:
        """Our order joins a level that shows `shown` lots; `orders` are theirs by id, where known."""
        place.shown, place.ahead = shown, float(shown)

    def traded(self, place: QueuePosition, lots: int, own: int, ts_event: int) -> None:
        """`lots` traded at our price, `own` of them with orders of ours that stand before this one."""
        if not self.books_first:
            place.credit += lots
        elif ts_event <= place.seen_ns:  # the book we joined had this trade in it
            return
        else:
            place.credit += self._take_back(place, lots, ts_event)
        place.credit_ns = max(place.credit_ns, ts_event)
        place.ahead -= lots - own

    def changed(self, place: QueuePosition, size: int, ts_event: int, order: int = 0) -> None:
        """The level shows `size` lots now; `order` is the id of the order that changed it, where known."""
        before, place.shown = place.shown, size
        shrink = before - size
        if shrink > 0:
            standing = before - place.credit
            explained = min(shrink, place.credit)
            place.credit -= explained
            cancelled = shrink - explained
            if cancelled > 0:
                was = place.ahead
                back = max(standing - was, 0.0)
                behind = min(cancelled * self._behind(was, back), back)
                place.ahead = min(max(was - (cancelled - behind), 0.0), float(size))
                if self.books_first:
                    place.unmatched_shrinks.append([ts_event, cancelled, was - place.ahead])
                    del place.unmatched_shrinks[:-_SHRINKS_KEPT]
        if ts_event >= place.credit_ns:
            place.credit = 0.0
        place.ahead = min(place.ahead, float(size))

    def filled(self, place: QueuePosition) -> int:
        """Lots of the last trade that went past our queue, to the nearest whole lot."""
        if place.ahead >= 0.0:
            return 0
        reached, place.ahead = int(0.5 - place.ahead), 0.0
        return min(reached, place.left - place.fill)

    @abstractmethod
    def _behind(self, front: float, back: float) -> float:
        """Share of a cancel that stood behind us, with `front` lots before us and `back` behind."""

    @staticmethod
    def _take_back(place: QueuePosition, lots: int, ts_event: int) -> float:
        """Match a trade with shrinks already seen; return the lots that no shrink explains."""
        rest = float(lots)
        for shrink in place.unmatched_shrinks:
            if rest <= 0.0:
                break
            if shrink[0] >= ts_event:
                part = min(rest, shrink[1])
                share = part / shrink[1]
                place.ahead += shrink[2] * share
                shrink[1] -= part
                shrink[2] -= shrink[2] * share
                rest -= part
        place.unmatched_shrinks = [shrink for shrink in place.unmatched_shrinks if shrink[1] > 0.0]
        return rest


class Pessimistic(QueueModel):
    """Cancels stand behind us as long as the level leaves room for that."""

    name = "pessimistic"

    def _behind(self, front: float, back: float) -> float:
        return 1.0


class Optimistic(QueueModel):
    """Cancels stand before us."""

    name = "optimistic"

    def _behind(self, front: float, back: float) -> float:
        return 0.0


class Power(QueueModel):
    """Cancels fall before or behind us by a power of the lots there.

    Parameters
    ----------
    n : float
        Exponent; the larger, the surer that a cancel comes from the longer part of the queue.
        Below 0 the shorter part cancels more.
    bias : float
        Log odds added in favour of behind: late orders that cancel more than early ones.

    """

    name = "power"

    def __init__(self, n: float, bias: float = 0.0, books_first: bool = False) -> None:
        super().__init__(books_first)
        self.n, self.bias = n, bias
        self._odds = 2.718281828459045**bias

    def _behind(self, front: float, back: float) -> float:
        if back <= 0.0:
            return 0.0
        if front <= 0.0:
            return 1.0
        weight: float = self._odds * (back / front) ** self.n
        return weight / (1.0 + weight)


class Proportional(Power):
    """Every lot is as likely to be cancelled as any other."""

    name = "proportional"

    def __init__(self, books_first: bool = False) -> None:
        super().__init__(1.0, 0.0, books_first)


class Fifo(QueueModel):
    """Exact: the orders before us are known by id. One that grows loses its place."""

    name = "fifo"

    def placed(self, place: QueuePosition, shown: int, orders: Mapping[int, int] | None = None) -> None:
        if orders is None:
            raise ValueError("an exact queue needs the orders of the level by id")
        place.orders = dict(orders)
        place.shown, place.ahead = shown, float(sum(orders.values()))

    def changed(self, place: QueuePosition, size: int, ts_event: int, order: int = 0) -> None:
        shrink, place.shown = place.shown - size, size
        stood = place.orders.get(order)
        if stood is None:
            return
        gone = stood if shrink < 0 else min(shrink, stood)
        explained = min(gone, place.credit)
        place.credit -= explained
        place.ahead = max(place.ahead - (gone - explained), 0.0)
        if gone == stood:
            del place.orders[order]
        else:
            place.orders[order] = stood - gone

    def _behind(self, front: float, back: float) -> float:
        raise NotImplementedError("orders are known by id")


class Nautilus(Pessimistic):
    """NautilusTrader 2.0.0rc7's queue: a trade beyond our price fills nobody, a shrink and its late
    trade count twice. Only to compare with: in a backtest that queue runs in Nautilus itself."""

    name = "nautilus"
    fills_through = False

    def __init__(self, books_first: bool = False) -> None:
        super().__init__(books_first=False)


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
