"""The book as queues: at each price, others' lots and the account's orders in the order in which they came.

What rests first trades first. A level of others that shrinks without a trade loses its latest lots, so that a
cancel never moves us up.
"""

from __future__ import annotations

from collections import deque

import msgspec
from sortedcontainers import SortedDict

from market.events import ASK, BID
from venues.loopback.orders import Order


class OthersLots(msgspec.Struct, eq=False):
    """Lots of others that came at once to one price."""

    left: int


type Entry = Order | OthersLots


def opposite(side: int) -> int:
    return ASK if side == BID else BID


def crosses(side: int, price: int, best: int | None) -> bool:
    """Whether an order of a side and price meets the best price of the other side."""
    return best is not None and (price >= best if side == BID else price <= best)


class QueueBook:
    """Two sides of price levels, each a queue of entries."""

    def __init__(self) -> None:
        self._sides: dict[int, SortedDict] = {BID: SortedDict(), ASK: SortedDict()}

    def best(self, side: int) -> int | None:
        """Best price of a side, ticks."""
        levels = self._sides[side]
        if not levels:
            return None
        price: int = levels.peekitem(-1 if side == BID else 0)[0]
        return price

    def top(self, side: int, depth: int) -> dict[int, int]:
        """Best levels of a side: lots by price, ours among them."""
        levels = self._sides[side]
        prices = reversed(levels) if side == BID else iter(levels)
        return {
            price: sum(entry.left for entry in levels[price]) for price, _ in zip(prices, range(depth), strict=False)
        }

    def prices(self, side: int) -> list[int]:
        """All prices of a side."""
        return list(self._sides[side])

    def first(self, side: int, price: int) -> Entry:
        """Who trades next at a price that the book has."""
        queue = self._queue(side, price)
        assert queue
        return queue[0]

    def first_order(self, side: int, price: int) -> Order | None:
        """The account's order that trades next at a price."""
        return next((entry for entry in self._queue(side, price) or () if isinstance(entry, Order)), None)

    def resize(self, side: int, price: int, lots: int) -> None:
        """Others show so many lots at a price: more come last, fewer leave from behind."""
        queue = self._queue(side, price)
        if queue is None:
            if lots:
                self._sides[side][price] = deque([OthersLots(lots)])
            return
        change = lots - sum(entry.left for entry in queue if isinstance(entry, OthersLots))
        if change > 0:
            queue.append(OthersLots(change))
        for entry in reversed(list(queue)):
            if change >= 0:
                break
            if isinstance(entry, OthersLots):
                gone = min(entry.left, -change)
                self.take(side, price, entry, gone)
                change += gone
        self.prune(side, price)

    def take(self, side: int, price: int, entry: OthersLots, lots: int) -> None:
        """Lots of others are gone; a level that empties stays until it is pruned."""
        entry.left -= lots
        if not entry.left:
            self._sides[side][price].remove(entry)

    def prune(self, side: int, price: int) -> None:
        """Take a level out where nobody stands at it any more."""
        if not self._sides[side].get(price, True):
            del self._sides[side][price]

    def drop_level(self, side: int, price: int) -> None:
        """Take a level out with whoever stands at it."""
        del self._sides[side][price]

    def join(self, order: Order) -> None:
        """An order takes the last place at its price."""
        self._sides[order.side].setdefault(order.price, deque()).append(order)

    def leave(self, order: Order) -> None:
        """An order gives up its place, if it has one."""
        queue = self._queue(order.side, order.price)
        if queue is not None and order in queue:
            queue.remove(order)
            self.prune(order.side, order.price)

    def _queue(self, side: int, price: int) -> deque[Entry] | None:
        queue: deque[Entry] | None = self._sides[side].get(price)
        return queue
