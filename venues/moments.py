"""A recorded day read back: book changes and trades in ticks and lots, in order of arrival."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from nautilus_trader.model import AggressorSide, OrderSide, TradeTick

from venues.book import LevelBook
from venues.catalog import Catalog, Day
from venues.events import ASK, BID, BUY, NO_AGGRESSOR, SELL, Level
from venues.nautilus import LAST, Units

_SIDES = {AggressorSide.BUY: BUY, AggressorSide.SELL: SELL}


class Print(NamedTuple):
    """A trade: price in ticks, lots, aggressor (`venues.events`)."""

    price: int
    lots: int
    side: int


class Moment(NamedTuple):
    """One update of the book, or one trade; arrival and exchange time in ns.

    A change (0, 0, 0) empties the book.
    """

    ts: int
    ts_event: int
    changes: list[Level]
    trade: Print | None


def moments(catalog: Catalog, day: Day) -> Iterator[Moment]:
    """Yield a day's updates and trades, one catalog file in memory at a time."""
    units = Units(catalog.contract(day))
    for deltas, trades in catalog.chunks(day):
        waiting = iter(trades)
        trade = next(waiting, None)
        batch: list[Level] = []
        for delta in deltas:
            while trade is not None and trade.ts_init < delta.ts_init:
                yield _print(trade, units)
                trade = next(waiting, None)
            if delta.is_clear:
                batch.append((0, 0, 0))
                continue
            order = delta.order
            side = BID if order.side == OrderSide.BUY else ASK
            size = 0 if delta.is_delete else order.size.raw // units.lot_raw
            batch.append((side, order.price.raw // units.tick_raw, size))
            if delta.flags & LAST:
                yield Moment(delta.ts_init, delta.ts_event, batch, None)
                batch = []
        while trade is not None:
            yield _print(trade, units)
            trade = next(waiting, None)


def apply(book: LevelBook, changes: list[Level]) -> None:
    """Carry out the changes of a moment."""
    for side, price, size in changes:
        if side == 0:
            book.clear()
        else:
            book.set(side, price, size)


def _print(trade: TradeTick, units: Units) -> Moment:
    side = _SIDES.get(trade.aggressor_side, NO_AGGRESSOR)
    told = Print(trade.price.raw // units.tick_raw, trade.size.raw // units.lot_raw, side)
    return Moment(trade.ts_init, trade.ts_event, [], told)
