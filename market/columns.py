"""A recording as columns: what the market told, event by event, in arrays that a compiled loop reads.

The arrays may be memory maps of a catalog's files: read-only, and shared by all processes.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from market.mapped import release

BOOK: Final = 0
TRADE: Final = 1

BEST_BID: Final = 0
LAST_BID: Final = 1
BEST_ASK: Final = 2
LAST_ASK: Final = 3
BID_LOTS: Final = 4
ASK_LOTS: Final = 5
"""Columns of `Columns.shown`."""


class Columns(NamedTuple):
    """One day, or one part of a day, of one instrument: n events in order of arrival, m rows of theirs.

    Prices are ticks, sizes lots, times ns since 1970 UTC, sides and aggressors those of `market.events`.

    Parameters
    ----------
    kind : (n,) int8
        BOOK (an atomic change of the book) or TRADE.
    ts, ts_event : (n,) int64
        Arrival, strictly rising; and the exchange's time.
    sequence : (n,) int64
        As `OrderBookDeltas.sequence` and the trade's id: the place within the part, from 1.
    clear : (n,) bool
        The book is emptied before the event's rows apply.
    first : (n + 1,) int64
        Rows `first[e]` to `first[e + 1]` (excluded) are event e's. A trade has one; a change of the book may have none.
    side : (m,) int8
        BID or ASK of a level; of a trade's row its aggressor (BUY, SELL, NO_AGGRESSOR).
    price : (m,) int64
        Ticks.
    size : (m,) int64
        Lots that the level has now (0: it is gone), or lots traded.
    order : (m,) int64
        Id of the order behind the row, 0 for a trade's; empty (0,) where the recording names none (not L3).
    stood : (m,) int64
        L3: lots that `order` had at this level before the row (0: none); 0 for a trade's. Else empty (0,).
    joined : (m,) int64
        L3: the row with which `order` last joined the end of the level's queue, before this row (-1: it does not
        stand there, or the row is a trade's). An order that grows joins anew. Else empty (0,).
    shown : (n, 6) int64
        After the event: best bid, last shown bid, best ask, last shown ask (as `market.array_book.edges` says
        them, with the depth that the feed shows), lots at the best bid and at the best ask (0 where there is none).
        A trade repeats what the book before it says.
    state : (n,) int8
        `market.array_book.BookState` after the event; a trade repeats the book's.

    """

    kind: NDArray[np.int8]
    ts: NDArray[np.int64]
    ts_event: NDArray[np.int64]
    sequence: NDArray[np.int64]
    clear: NDArray[np.bool_]
    first: NDArray[np.int64]
    side: NDArray[np.int8]
    price: NDArray[np.int64]
    size: NDArray[np.int64]
    order: NDArray[np.int64]
    stood: NDArray[np.int64]
    joined: NDArray[np.int64]
    shown: NDArray[np.int64]
    state: NDArray[np.int8]


def frozen(columns: Columns) -> Columns:
    """The same, each array read-only and plain: compiled code is made once for memory maps and arrays alike."""
    return Columns._make(_frozen(array) for array in columns)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    view = np.ascontiguousarray(array).view(np.ndarray)
    view.flags.writeable = False
    return view


def release_events(columns: Columns, start: int, stop: int) -> None:
    """Give back the memory of events `start` to `stop` and of their rows, as far as they are mapped files."""
    rows = int(columns.first[start]), int(columns.first[stop])
    for name, array in columns._asdict().items():
        release(array, *(rows if name in _BY_ROW else (start, stop)))


_BY_ROW = ("side", "price", "size", "order", "stood", "joined")
