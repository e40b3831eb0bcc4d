"""The recorded book beside which our orders stand, as far as the feed shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from market.array_book import ArrayBook, edges, take
from market.events import BID


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
