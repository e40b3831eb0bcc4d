"""A compiled L2 book: sorted arrays with the best level at the end, where nearly all changes fall.

The kernels take plain arrays so that numba compiles them once for features, record and trading.
Layout: `price (2, capacity) int64` ticks, `size (2, capacity) int64` lots, `count (2,) int64`;
row 0 are bids in rising order, row 1 asks in falling order.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numba import njit
from numpy.typing import NDArray

CAPACITY = 8192


class BookState(IntEnum):
    """Whether a book can be quoted on, by its best prices alone; every judgement of it is made by `state_of`."""

    SOUND = 0
    """Two sides, best bid below best ask."""
    ONE_SIDED = 1
    """Bids or asks only, as at a price limit."""
    CROSSED = 2
    """Best bid at or above best ask."""
    EMPTY = 3


# numba takes plain numbers for constants
_SOUND, _ONE_SIDED, _CROSSED, _EMPTY = (int(state) for state in BookState)


@njit(cache=True)
def state_of(price, count):  # type: ignore[no-untyped-def]
    """The number of the `BookState` that a book is in."""
    bids, asks = count[0], count[1]
    if bids == 0 and asks == 0:
        return _EMPTY
    if bids == 0 or asks == 0:
        return _ONE_SIDED
    return _CROSSED if price[0, bids - 1] >= price[1, asks - 1] else _SOUND


@njit(cache=True)
def set_level(price, size, count, side, ticks, lots):  # type: ignore[no-untyped-def]
    """Set a level's size, 0 removes it. A full side forgets its worst level."""
    row = side - 1
    sign = 1 if side == 1 else -1
    n = count[row]
    low, high = 0, n
    while low < high:  # first index whose key is not below the new one's
        middle = (low + high) >> 1
        if sign * price[row, middle] < sign * ticks:
            low = middle + 1
        else:
            high = middle
    found = low < n and price[row, low] == ticks
    if lots > 0:
        if found:
            size[row, low] = lots
            return
        if n == price.shape[1]:
            if low == 0:
                return
            for i in range(low - 1):
                price[row, i] = price[row, i + 1]
                size[row, i] = size[row, i + 1]
            low -= 1
        else:
            for i in range(n, low, -1):
                price[row, i] = price[row, i - 1]
                size[row, i] = size[row, i - 1]
            count[row] = n + 1
        price[row, low] = ticks
        size[row, low] = lots
    elif found:
        for i in range(low, n - 1):
            price[row, i] = price[row, i + 1]
            size[row, i] = size[row, i + 1]
        count[row] = n - 1


@njit(cache=True)
def lots_at(price, size, count, side, ticks):  # type: ignore[no-untyped-def]
    """Lots at a price, 0 where there is no such level."""
    row = side - 1
    sign = 1 if side == 1 else -1
    low, high = 0, count[row]
    while low < high:
        middle = (low + high) >> 1
        if sign * price[row, middle] < sign * ticks:
            low = middle + 1
        else:
            high = middle
    return size[row, low] if low < count[row] and price[row, low] == ticks else 0


@njit(cache=True)
def edges(price, count, depth, out):  # type: ignore[no-untyped-def]
    """Write best and last shown price of each side, bids first, into `out (4,) int64`.

    With `depth` 0 all prices are shown; a side with fewer levels ends where they end, and one without
    any shows nothing. An empty side's best is 0.
    """
    for row in range(2):
        n = count[row]
        low = row == 0
        out[2 * row] = price[row, n - 1] if n else 0
        if depth == 0 or 0 < n < depth:
            out[2 * row + 1] = -(1 << 62) if low else 1 << 62
        elif n == 0:
            out[2 * row + 1] = 1 << 62 if low else -(1 << 62)
        else:
            out[2 * row + 1] = price[row, n - depth]


@njit(cache=True)
def take(price, size, count, changes, n, clear, depth, out):  # type: ignore[no-untyped-def]
    """Apply a whole update, then write its `edges`."""
    if clear:
        count[:] = 0
    for i in range(n):
        set_level(price, size, count, changes[i, 0], changes[i, 1], changes[i, 2])
    edges(price, count, depth, out)


@njit(cache=True)
def apply_levels(price, size, count, changes, n):  # type: ignore[no-untyped-def]
    """Apply `n` rows (side, ticks, lots) of `changes (…, 3) int64`."""
    for i in range(n):
        set_level(price, size, count, changes[i, 0], changes[i, 1], changes[i, 2])


class ArrayBook:
    """The arrays with their names; an empty book at first."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.price = np.zeros((2, capacity), np.int64)
        self.size = np.zeros((2, capacity), np.int64)
        self.count = np.zeros(2, np.int64)

    @property
    def state(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Price, size and count, for a compiled loop."""
        return self.price, self.size, self.count

    def lots(self, side: int, ticks: int) -> int:
        """Lots at a price, 0 where there is no such level."""
        return int(lots_at(self.price, self.size, self.count, side, ticks))

    def worst_shown(self, side: int, depth: int) -> int | None:
        """Price of the last of the best `depth` levels; None where the side ends before it."""
        n = int(self.count[side - 1])
        return int(self.price[side - 1, n - depth]) if n >= depth else None

    def top(self, side: int, levels: int) -> list[tuple[int, int]]:
        """Best `levels` of a side as (ticks, lots), best first."""
        row, n = side - 1, int(self.count[side - 1])
        return [(int(self.price[row, i]), int(self.size[row, i])) for i in range(n - 1, max(n - 1 - levels, -1), -1)]
