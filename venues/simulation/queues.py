"""Queue models: how a resting order of ours moves up among the lots that a level book shows.

A level book says how many lots rest at a price, not whose. Trades take from the front; a cancel may
stand before us or behind us, and which it is decides who fills. The models differ in that alone:

- `Pessimistic`: cancels are behind us as long as they can be; only trades (and a level that shows
  less than our queue) advance us. `Optimistic`: cancels are before us. No queue of a market without
  hidden orders advances slower than the first or faster than the second.
- `Power(n)`: of a cancelled lot the share b^n / (f^n + b^n) is behind us, with f lots before and b
  behind (Rigtorp 2013, "Estimating order queue position"; hftbacktest's PowerProbQueueModel). n = 1,
  `Proportional`, cancels every lot alike.
- `Fifo`: exact, where the recording names orders (L3).
- `Nautilus`: what NautilusTrader's own matching engine does, for comparison.

Each answers four hooks: `placed`, `traded`, `changed` (the level's size) and `filled`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final, Literal

import msgspec

from market.events import OrderKey


class QueueConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where our orders stand in their queues.

    Parameters
    ----------
    model : str
        `calibrated` (as `cmm calibrate` fitted it to this instrument on earlier days, else as shipped),
        `pessimistic`, `optimistic`, `proportional`, `power` (n, bias), `fifo` (recordings that name
        orders) or `nautilus` (NautilusTrader's own).
    n, bias : float
        Of `power`.
    file : str, optional
        A calibration to use, instead of the one found.

    """

    model: Literal["calibrated", "pessimistic", "optimistic", "proportional", "power", "fifo", "nautilus"] = (
        "calibrated"
    )
    n: float = 1.0
    bias: float = 0.0
    file: str | None = None


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


def make_queue(config: QueueConfig, *, books_first: bool) -> QueueModel | None:
    """The queue model of a configuration in which `calibrated` has been resolved; None is Nautilus' own.

    `books_first`: the feed tells of a level's shrink before the trade that explains it.
    """
    if config.model == "nautilus":
        return None
    if config.model == "power":
        return Power(config.n, config.bias, books_first)
    simple: dict[str, type[QueueModel]] = {
        "fifo": Fifo,
        "pessimistic": Pessimistic,
        "optimistic": Optimistic,
        "proportional": Proportional,
    }
    return simple[config.model](books_first)
