"""The recorded book beside which our orders stand, as far as the feed shows it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from market.array_book import ArrayBook, take
from market.columns import BEST_ASK, BEST_BID, LAST_ASK, LAST_BID
from market.compiled import compiled
from market.events import BID
from market.order_levels import OrderLevels


@compiled
def is_shown(shown, side, price):  # type: ignore[no-untyped-def]
    """Whether the recording shows what rests at a price; `shown` as in `Columns`."""
    return price >= shown[LAST_BID] if side == BID else price <= shown[LAST_ASK]


@compiled
def would_take(shown, side, price):  # type: ignore[no-untyped-def]
    """Whether an order would trade at once: a post-only one is refused then."""
    best = shown[BEST_ASK] if side == BID else shown[BEST_BID]
    return best != 0 and (price >= best if side == BID else price <= best)


class Shown(Protocol):
    """What the recording shows."""

    shown: NDArray[np.int64]
    """(6,), as a row of `Columns.shown`."""
    rows: int
    """Rows of the recording so far."""
    names_orders: bool

    def lots(self, side: int, price: int) -> int:
        """Lots of others at a price."""


class RecordedBook:
    """The recorded book, as far as the feed shows it. A side with fewer levels than the feed can show
    ends there; prices beyond the last that it shows are unknown."""

    names_orders = False

    def __init__(self, depth: int) -> None:
        self._book, self._depth = ArrayBook(), depth
        self.shown: NDArray[np.int64] = np.zeros(6, np.int64)
        self.rows = 0
        self.apply(np.zeros((0, 3), np.int64), 0, False)

    def apply(self, changes: NDArray[np.int64], count: int, clear: bool) -> None:
        """Take a whole update: `count` rows (side, price, size) of `changes`."""
        book = self._book
        self.rows += count
        take(book.price, book.size, book.count, changes, count, clear, self._depth, self.shown)

    def lots(self, side: int, price: int) -> int:
        return self._book.lots(side, price)

    def top(self, side: int, levels: int) -> list[tuple[int, int]]:
        """Best levels of a side as (price, lots)."""
        return self._book.top(side, levels)

    def best(self, side: int) -> int:
        """Best price of a side in ticks, 0 where the side is empty."""
        return int(self.shown[BEST_BID if side == BID else BEST_ASK])


class RecordedOrders(RecordedBook):
    """The same of a recording that names orders (L3): who stands at each level."""

    names_orders = True

    def __init__(self) -> None:
        super().__init__(0)
        self._levels = OrderLevels()

    def take(
        self, changes: NDArray[np.int64], owners: list[int], clear: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Take a whole update of (side, price, size) with the orders behind it.

        Returns
        -------
        tuple of ndarray (rows,)
            `stood` and `joined` of each row, as in `Columns`.

        """
        if clear:
            self._levels.clear()
        steps = [
            self._levels.step(side, price, size, order, self.rows + i)
            for i, ((side, price, size), order) in enumerate(zip(changes.tolist(), owners, strict=True))
        ]
        self.apply(changes, len(changes), clear)
        standing = np.array(steps, np.int64).reshape(-1, 2).T.copy()
        return standing[0], standing[1]

    def orders(self, side: int, price: int) -> dict[int, int]:
        """Lots by order at a price, first come first."""
        return self._levels.orders(side, price)
