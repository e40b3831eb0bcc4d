"""The recorded book beside which our orders stand, as far as the feed shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from market.array_book import ArrayBook, take
from market.columns import ASK_LOTS, BEST_ASK, BEST_BID, BID_LOTS, BOOK, LAST_ASK, LAST_BID
from market.compiled import inlined
from market.events import BID
from venues.recordings.column_kernels import follow_orders, new_queues


@inlined
def is_shown(shown, side, price):  # type: ignore[no-untyped-def]
    """Whether the recording shows what rests at a price; `shown` as in `Columns`."""
    return price >= shown[LAST_BID] if side == BID else price <= shown[LAST_ASK]


@inlined
def would_take(shown, side, price):  # type: ignore[no-untyped-def]
    """Whether an order would trade at once: a post-only one is refused then."""
    if side == BID:
        return shown[ASK_LOTS] > 0 and price >= shown[BEST_ASK]
    return shown[BID_LOTS] > 0 and price <= shown[BEST_BID]


class Rows(NamedTuple):
    """Rows of the recording: (rows,) each. `stood` and `joined` are of recordings that name orders, else empty."""

    side: NDArray[np.int8]
    price: NDArray[np.int64]
    size: NDArray[np.int64]
    stood: NDArray[np.int64]
    joined: NDArray[np.int64]


def rows_of(
    changes: NDArray[np.int64], stood: NDArray[np.int64] | None = None, joined: NDArray[np.int64] | None = None
) -> Rows:
    """Rows of changes (rows, 3): side, price, size."""
    none = np.zeros(0, np.int64)
    side, price, size = changes[:, 0].astype(np.int8), changes[:, 1].copy(), changes[:, 2].copy()
    return Rows(side, price, size, stood if stood is not None else none, joined if joined is not None else none)


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
        self._queues = new_queues()

    def take(
        self, changes: NDArray[np.int64], owners: Sequence[int], clear: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Take a whole update of (side, price, size) with the orders behind it.

        Returns
        -------
        tuple of ndarray (rows,)
            `stood` and `joined` of each row, as in `Columns`.

        """
        n = len(changes)
        stood, joined = np.zeros(n, np.int64), np.zeros(n, np.int64)
        rows = rows_of(changes, stood, joined)
        follow_orders(
            _ONE_BOOK, np.array([clear]), np.array([0, n]), rows.side, rows.price, rows.size,
            np.array(owners, np.int64), self.rows, self._queues, stood, joined,
        )  # fmt: skip
        self.apply(changes, n, clear)
        return stood, joined


_ONE_BOOK = np.array([BOOK], np.int8)
