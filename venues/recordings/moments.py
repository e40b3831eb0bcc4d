"""A recorded day read back: book changes and trades in ticks and lots, in order of arrival."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from market.columns import TRADE
from market.events import Level
from market.level_book import LevelBook
from venues.recordings.catalog import Catalog, Day

_AT_ONCE = 4_096


class Print(NamedTuple):
    """A trade: price in ticks, lots, aggressor (`venues.events`)."""

    price: int
    lots: int
    side: int


class Moment(NamedTuple):
    """One update of the book, or one trade; arrival and exchange time in ns.

    A change (0, 0, 0) empties the book. `owners`, where asked for, are the orders that made the other changes (L3).
    """

    ts: int
    ts_event: int
    changes: list[Level]
    trade: Print | None
    owners: Sequence[int] = ()


def moments(catalog: Catalog, day: Day, *, with_owners: bool = False) -> Iterator[Moment]:
    """Yield a day's updates and trades, some thousand in memory at a time."""
    c = catalog.columns(day)
    for start in range(0, len(c.kind), _AT_ONCE):
        events = slice(start, start + _AT_ONCE)
        first = c.first[start : start + _AT_ONCE + 1]
        rows = slice(int(first[0]), int(first[-1]))
        told = list(zip(c.side[rows].tolist(), c.price[rows].tolist(), c.size[rows].tolist(), strict=True))
        orders = c.order[rows].tolist() if with_owners else []
        bounds = (first - first[0]).tolist()
        times = (column[events].tolist() for column in (c.kind, c.ts, c.ts_event, c.clear))
        for (kind, ts, ts_event, clear), (begin, end) in zip(zip(*times, strict=True), pairwise(bounds), strict=True):
            if kind == TRADE:
                aggressor, price, lots = told[begin]
                yield Moment(ts, ts_event, [], Print(price, lots, aggressor))
            else:
                changes = told[begin:end]
                yield Moment(ts, ts_event, [(0, 0, 0), *changes] if clear else changes, None, orders[begin:end])


def apply(book: LevelBook, changes: list[Level]) -> None:
    """Carry out the changes of a moment."""
    for side, price, size in changes:
        if side == 0:
            book.clear()
        else:
            book.set(side, price, size)
