"""A recorded day read back: book changes and trades in ticks and lots, in order of arrival."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nautilus_trader.model import TradeTick

from market.events import Level
from market.level_book import LevelBook
from market.nautilus import Decoder, Instrument, batches, owners
from venues.recordings.catalog import Catalog, Day


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
    """Yield a day's updates and trades, one catalog file in memory at a time."""
    decoder = Decoder(Instrument(catalog.contract(day)))
    for deltas, trades in catalog.chunks(day):
        waiting = iter(trades)
        trade = next(waiting, None)
        for update in batches(deltas):
            while trade is not None and trade.ts_init < update.ts_init:
                yield _print(trade, decoder)
                trade = next(waiting, None)
            levels, clear = decoder.levels(update)
            changes = [(0, 0, 0), *levels] if clear else levels
            named = owners(update) if with_owners else ()
            yield Moment(update.ts_init, update.ts_event, changes, None, named)
        while trade is not None:
            yield _print(trade, decoder)
            trade = next(waiting, None)


def apply(book: LevelBook, changes: list[Level]) -> None:
    """Carry out the changes of a moment."""
    for side, price, size in changes:
        if side == 0:
            book.clear()
        else:
            book.set(side, price, size)


def _print(trade: TradeTick, decoder: Decoder) -> Moment:
    return Moment(trade.ts_init, trade.ts_event, [], Print(*decoder.trade(trade)))
