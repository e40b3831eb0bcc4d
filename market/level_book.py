"""A plain L2 book for importing and inspecting: levels by side, best first."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator

from market.events import ASK, BID, BookUpdate, Level, OrderLevel, OrderUpdate


class Side(dict[int, int]):
    """Lots by price, in ticks, of one side; `prices` in rising order. Changed by `LevelBook` alone."""

    __slots__ = ("prices",)

    def __init__(self) -> None:
        super().__init__()
        self.prices: list[int] = []

    def above(self, price: int) -> list[int]:
        """Prices above one, rising."""
        return self.prices[bisect_right(self.prices, price) :]

    def below(self, price: int) -> list[int]:
        """Prices below one, rising."""
        return self.prices[: bisect_left(self.prices, price)]


class LevelBook:
    """Levels of one instrument; prices in ticks, sizes in lots.

    A snapshot of limited depth says nothing about prices beyond its last level. Those keep the
    size last seen: an order that rests there has not lost its queue because the feed looked away.
    """

    def __init__(self) -> None:
        self.bids, self.asks = Side(), Side()

    def best_bid(self) -> int | None:
        return self.bids.prices[-1] if self.bids else None

    def best_ask(self) -> int | None:
        return self.asks.prices[0] if self.asks else None

    def is_crossed(self) -> bool:
        return bool(self.bids and self.asks and self.bids.prices[-1] >= self.asks.prices[0])

    def set(self, side: int, price: int, size: int) -> None:
        """Set a level's size; 0 removes it."""
        self.take(((side, price, size),))

    def take(self, changes: Iterable[Level]) -> None:
        """Set the sizes of levels, one after the other; 0 removes one."""
        bids, asks = self.bids, self.asks
        for side, price, size in changes:
            levels = bids if side == BID else asks
            if size:
                if price not in levels:
                    insort(levels.prices, price)
                levels[price] = size
            elif price in levels:
                del levels[price]
                del levels.prices[bisect_left(levels.prices, price)]

    def clear(self) -> None:
        self.bids, self.asks = Side(), Side()

    def levels(self) -> Iterator[Level]:
        """All levels, best first, bids before asks."""
        for price in reversed(self.bids.prices):
            yield BID, price, self.bids[price]
        for price in self.asks.prices:
            yield ASK, price, self.asks[price]

    def top(self, side: int, count: int) -> list[tuple[int, int]]:
        """Return the best `count` levels of a side as (price, size), best first."""
        if side == BID:
            return [(price, self.bids[price]) for price in self.bids.prices[: -count - 1 : -1]]
        return [(price, self.asks[price]) for price in self.asks.prices[:count]]

    def apply(self, update: BookUpdate) -> list[Level]:
        """Apply an update; return the level changes that carry it out.

        An unchanged snapshot returns one unchanged level: that nothing happened is news too.
        """
        changes = self._replace(update) if update.snapshot else update.levels
        self.take(changes)
        return changes

    def _replace(self, update: BookUpdate) -> list[Level]:
        """Turn a snapshot into level changes: shown levels set, vanished ones in range removed."""
        changes: list[Level] = []
        bids: dict[int, int] = {}
        asks: dict[int, int] = {}
        for side, price, size in update.levels:
            (bids if side == BID else asks)[price] = size
        for side, levels, shown in ((BID, self.bids, bids), (ASK, self.asks, asks)):
            if not shown or not update.depth or len(shown) < update.depth:
                gone = [p for p in levels.prices if p not in shown]  # the side ends where the feed says
            elif side == BID:
                gone = [p for p in levels.above(min(shown)) if p not in shown]
            else:
                gone = [p for p in levels.below(max(shown)) if p not in shown]
            changes += [(side, price, 0) for price in gone]
            changes += [(side, price, size) for price, size in shown.items() if levels.get(price) != size]
        return changes or list(update.levels[:1])


class OrderBook:
    """Orders by id, aggregated to levels: turns L3 updates into L2 level changes.

    Feeds such as Bitstamp's show an aggressive order as `created` before its matches. Such an
    order stands aside until it no longer crosses: the level book is never crossed by it.
    """

    def __init__(self) -> None:
        self.book = LevelBook()
        self._orders: dict[int, tuple[int, int, int]] = {}
        self._aside: dict[int, tuple[int, int, int]] = {}

    def known(self, order_id: int) -> tuple[int, int, int] | None:
        """Return (side, price, size) of a live order, or None."""
        return self._orders.get(order_id) or self._aside.get(order_id)

    def apply(self, update: OrderUpdate) -> list[OrderLevel]:
        """Apply one order's change; return the levels it changed, in order, each with its new size and
        the order that changed it: an order's own size follows from the steps of its level."""
        changes: list[OrderLevel] = []
        if update.reset:
            changes += [(side, price, 0, 0) for side, price, _ in self.book.levels()]
            self._orders.clear()
            self._aside.clear()
            self.book.clear()
        old = self._orders.get(update.order_id)
        if old is not None and update.size and old[:2] == (update.side, update.price):
            self._orders[update.order_id] = (*old[:2], update.size)
            if update.size > old[2]:  # what grows goes to the end of its queue
                self._orders[update.order_id] = self._orders.pop(update.order_id)
            return [*changes, self._shift(update.order_id, *old[:2], update.size - old[2])]
        self._aside.pop(update.order_id, None)
        self._orders.pop(update.order_id, None)
        if old is not None:
            changes.append(self._shift(update.order_id, old[0], old[1], -old[2]))
        if update.size:
            order = (update.side, update.price, update.size)
            if self._crosses(order):
                self._aside[update.order_id] = order
            else:
                self._orders[update.order_id] = order
                changes.append(self._shift(update.order_id, *order))
        if self._aside:
            changes += self._settle()
        return changes

    def rows(self) -> list[OrderLevel]:
        """All resting orders, first come first, as the steps that would build their levels."""
        sizes: dict[tuple[int, int], int] = {}
        rows = []
        for oid, (side, price, size) in self._orders.items():
            sizes[side, price] = sizes.get((side, price), 0) + size
            rows.append((side, price, sizes[side, price], oid))
        return rows

    def _crosses(self, order: tuple[int, int, int]) -> bool:
        side, price, _ = order
        other = self.book.best_ask() if side == BID else self.book.best_bid()
        return other is not None and (price >= other if side == BID else price <= other)

    def _settle(self) -> list[OrderLevel]:
        free = [oid for oid, order in self._aside.items() if not self._crosses(order)]
        changes = []
        for oid in free:
            order = self._aside[oid]
            if not self._crosses(order):  # an earlier one of `free` may now stand in its way
                del self._aside[oid]
                self._orders[oid] = order
                changes.append(self._shift(oid, *order))
        return changes

    def _shift(self, order_id: int, side: int, price: int, size: int) -> OrderLevel:
        levels = self.book.bids if side == BID else self.book.asks
        new = levels.get(price, 0) + size
        self.book.set(side, price, new)
        return side, price, new, order_id
