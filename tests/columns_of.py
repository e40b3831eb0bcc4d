"""Columns of a recorded day or of events that a test makes up, built the slow way."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from market.array_book import ArrayBook, edges, state_of
from market.columns import BOOK, TRADE, Columns
from market.events import Level
from venues.recordings.catalog import Catalog, Day
from venues.recordings.moments import moments

type Happened = tuple[int, list[Level], bool] | tuple[int, int, int, int]
"""A change of the book (ts, levels, clear), or a trade (ts, price, lots, aggressor)."""


def columns_of(happened: Iterable[Happened], depth: int = 0) -> Columns:
    kind, ts, clear, first, rows, shown, state = [], [], [], [0], [], [], []
    book, out = ArrayBook(), np.zeros(4, np.int64)
    for what in happened:
        ts.append(what[0])
        if len(what) == 4:
            kind.append(TRADE)
            clear.append(False)
            rows.append((what[3], what[1], what[2]))
        else:
            _, levels, whole = what
            kind.append(BOOK)
            clear.append(whole)
            rows += levels
            if whole:
                book.count[:] = 0
            for side, price, size in levels:
                set_level(book, side, price, size)
        edges(book.price, book.count, depth, out)
        shown.append([*out, *(book.size[row, n - 1] if n else 0 for row, n in enumerate(book.count))])
        state.append(state_of(book.price, book.count))
        first.append(len(rows))
    table = np.array(rows, np.int64).reshape(-1, 3)
    n, none = len(ts), np.zeros(0, np.int64)
    return Columns(
        np.array(kind, np.int8), np.array(ts, np.int64), np.array(ts, np.int64), np.arange(1, n + 1), np.array(clear, np.bool_),
        np.array(first, np.int64), table[:, 0].astype(np.int8), table[:, 1].copy(), table[:, 2].copy(), none, none, none,
        np.array(shown, np.int64).reshape(-1, 6), np.array(state, np.int8),
    )  # fmt: skip


def set_level(book: ArrayBook, side: int, price: int, size: int) -> None:
    from market.array_book import set_level as kernel

    kernel(book.price, book.size, book.count, side, price, size)


def columns_of_day(catalog: Catalog, day: Day) -> Columns:
    return columns_of(_happened(catalog, day), day.depth)


def _happened(catalog: Catalog, day: Day) -> Iterable[Happened]:
    for ts, _, changes, trade, _ in moments(catalog, day):
        if trade is not None:
            yield ts, trade.price, trade.lots, trade.side
        else:
            whole = (0, 0, 0) in changes
            yield ts, [level for level in changes if level[0]], whole
