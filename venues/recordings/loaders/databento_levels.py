"""Databento's market by price (`mbp-10`, `mbp-1`), best quotes with trades (`tbbo`) and trades alone (`trades`).

Each record bears the levels as they stand after it. A trade changes no level: what it took away follows in a
record of its own, so that a trade's levels are those before it. `tbbo` holds the trades of `mbp-1` and no more.
"""

from __future__ import annotations

from collections.abc import Iterator

import databento_dbn as dbn

from market.events import ASK, BID, BUY, NO_AGGRESSOR, SELL, BookUpdate, Event, Level, Trade
from venues.recordings.loaders.databento_file import LAST_FLAG, PRICE_UNIT, Record
from venues.recordings.loaders.units import Grid

_AGGRESSORS = {"B": BUY, "A": SELL}
_DEPTHS = {"mbp-10": 10, "mbp-1": 1, "tbbo": 1, "trades": 0}


class LevelStream:
    """Levels and trades of one instrument."""

    def __init__(self, grid: Grid, schema: str) -> None:
        self._grid, self._id, self._counts = grid, grid.contract.id, grid.counts
        self._depth = _DEPTHS[schema]
        self._open: BookUpdate | None = None  # a change whose event has not ended
        self._shown: list[Level] | None = None

    def events(self, record: Record) -> Iterator[Event]:
        if self._open is not None and self._is_later(record, self._open):
            yield from self.finish()  # the mark was lost: an event does not outlast its moment
        action = str(record.action)
        book = self._book(record) if self._depth and action != "N" else None
        if action == "T":
            if book is not None and self._open is None and book.levels != self._shown:
                yield from self._told(book)
            yield from self._trade(record)
        elif book is not None:
            self._open = book
        if record.flags & LAST_FLAG and self._open is not None:
            self._open = BookUpdate(
                self._id, record.ts_event, record.ts_recv, self._open.levels, snapshot=True, depth=self._depth
            )
            yield from self.finish()

    def next_file(self) -> None:
        """Every record shows the whole of its levels: nothing is carried over."""

    def finish(self) -> Iterator[Event]:
        """Tell of what the last record left open."""
        if self._open is not None:
            yield from self._told(self._open)
            self._open = None

    def _told(self, book: BookUpdate) -> Iterator[BookUpdate]:
        self._shown = book.levels
        yield book

    def _is_later(self, record: Record, held: BookUpdate) -> bool:
        return bool(record.ts_event > held.ts_event and record.ts_recv > held.ts_recv)

    def _trade(self, record: Record) -> Iterator[Trade]:
        if record.price == dbn.UNDEF_PRICE:
            self._counts["no_price"] += 1
            return
        price = self._grid.ticks(record.price * PRICE_UNIT)
        if price is not None and record.size:
            aggressor = _AGGRESSORS.get(str(record.side), NO_AGGRESSOR)
            lots = self._grid.lots(record.size)
            yield Trade(self._id, record.ts_event, record.ts_recv, price, lots, aggressor)

    def _book(self, record: dbn.MBP10Msg | dbn.MBP1Msg) -> BookUpdate | None:
        """The record's levels; None where a price is off the tick."""
        levels = self._grid.snapshot(
            (side, price * PRICE_UNIT, size)
            for pair in record.levels
            for side, price, size in ((BID, pair.bid_px, pair.bid_sz), (ASK, pair.ask_px, pair.ask_sz))
            if size and price != dbn.UNDEF_PRICE
        )
        if levels is None:
            return None
        return BookUpdate(self._id, record.ts_event, record.ts_recv, levels, snapshot=True, depth=self._depth)
