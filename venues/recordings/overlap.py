"""Two recordings of the same time: they tell the same, or the import says where they do not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from market.errors import DataError
from market.events import ASK, BID, Event, Trade
from market.level_book import LevelBook
from venues.recordings.catalog import Catalog, Day
from venues.recordings.moments import apply, moments

type _Told = tuple[int, bool, tuple[int, ...]]
"""Exchange time, whether it is a trade, and the trade or the touch with its sizes."""


class Overlap:
    """Compares what is imported, step by step, with a part of the day that is in the catalog.

    Compared are the trades, and the best prices and sizes after each update of the book, from the first
    update on that both tell of: a recording's first book may know less than one that began earlier.
    """

    def __init__(self, catalog: Catalog, part: Day, name: str) -> None:
        self.difference: DataError | None = None
        self._part, self._name = part, name
        self._theirs = _told(catalog, part)
        self._aligned = False

    def see(self, event: Event, book: LevelBook) -> None:
        """Take the next event of the import with the book after it; the first `difference` is kept."""
        if self.difference is not None:
            return
        if isinstance(event, Trade):
            ours: _Told = (event.ts_event, True, (event.price, event.size, event.aggressor))
            if not self._aligned:
                return
        else:
            ours = (event.ts_event, False, _touch(book))
            if not self._aligned:
                self._aligned = True
                self._align(ours)
                return
        theirs = next(self._theirs, None)
        if theirs is not None and theirs != ours:
            self._differs(ours[0])

    def left(self, ts_event: int) -> None:
        """The import goes on after the part: all that the part holds must have been told."""
        if self.difference is None and next(self._theirs, None) is not None:
            self._differs(ts_event)

    def _align(self, ours: _Told) -> None:
        for theirs in self._theirs:
            if theirs == ours:
                return
            if theirs[0] > ours[0]:
                break
        self._differs(ours[0])

    def _differs(self, ts_event: int) -> None:
        sources = ", ".join(source.name for source in self._part.sources) or self._part.format
        self.difference = DataError(
            f"{self._name}: overlaps what is imported of {self._part.instrument} {self._part.date} from {sources} "
            f"({_iso(self._part.start_ns)} to {_iso(self._part.end_ns)}) and differs from it at {_iso(ts_event)}; "
            "leave one of them out, or import this one with --again to replace that one"
        )


def _told(catalog: Catalog, part: Day) -> Iterator[_Told]:
    book = LevelBook()
    for moment in moments(catalog, part):
        if moment.trade is not None:
            yield moment.ts_event, True, tuple(moment.trade)
        else:
            apply(book, moment.changes)
            yield moment.ts_event, False, _touch(book)


def _touch(book: LevelBook) -> tuple[int, ...]:
    return tuple(x for side in (BID, ASK) for level in book.top(side, 1) for x in (side, *level))


def _iso(ts_ns: int) -> str:
    return dt.datetime.fromtimestamp(ts_ns / 1e9, dt.UTC).isoformat(timespec="milliseconds")
