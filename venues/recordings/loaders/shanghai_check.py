"""A vendor's ten-level snapshots of a Shanghai stock, held against the book that its orders made.

A snapshot bears a whole second, and shows the book of some moment in it. The day's volume in it tells which:
one of the books that stood while no more than that had traded must be its.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from market.contracts import Contract
from market.events import ASK, BID, Event, OrderUpdate
from market.level_book import OrderBook
from venues.recordings.loaders.base import Rows
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.shanghai_stream import Stream
from venues.recordings.loaders.units import Grid

_DEPTH = 10
_CONTINUOUS = "TRADE"
_FIELDS = {side: [(f"{side}Price{i}", f"{side}Volume{i}") for i in range(1, _DEPTH + 1)] for side in ("Bid", "Ask")}
SNAPSHOT_COLUMNS = frozenset({"SecurityID", "InstruStatus", "TradVolume", *chain(*_FIELDS["Bid"], *_FIELDS["Ask"])})

type _Side = list[tuple[int, int]]
type _Snapshot = tuple[int, _Side, _Side]  # the day's volume, bids, asks


def checked(
    events: Iterable[Event], stream: Stream, path: Path, contract: Contract, findings: Findings
) -> Iterator[Event]:
    """Pass on a stream's events; count the snapshots that no book of their volume equals."""
    snapshots = _snapshots(path, contract)
    book, seen, wrong = OrderBook(), 0, 0
    waiting = next(snapshots, None)
    for event in events:
        yield event
        if not isinstance(event, OrderUpdate):
            continue
        book.apply(event)
        if not event.last:
            continue
        while waiting is not None and waiting[0] < stream.traded:
            seen, wrong, waiting = seen + 1, wrong + 1, next(snapshots, None)
        while waiting is not None and waiting[0] == stream.traded and _shows(book, waiting):
            seen, waiting = seen + 1, next(snapshots, None)
    rest = len(list(snapshots)) + (waiting is not None)
    if wrong + rest:
        text = f"{wrong + rest:,} of {seen + rest:,} snapshots in {path.name} show another book than the orders make"
        findings.note(contract.id, "snapshots", text)
        findings.of(contract.id)["snapshot_differs"] += wrong + rest


def _shows(book: OrderBook, snapshot: _Snapshot) -> bool:
    return book.book.top(BID, _DEPTH) == snapshot[1] and book.book.top(ASK, _DEPTH) == snapshot[2]


def _snapshots(path: Path, contract: Contract) -> Iterator[_Snapshot]:
    """Those of continuous trading."""
    grid = Grid(contract, Counter())
    for row in Rows(path):
        if row.text("InstruStatus").strip() == _CONTINUOUS:
            yield row.integer("TradVolume"), _side(row, "Bid", grid), _side(row, "Ask", grid)


def _side(row: Rows, side: str, grid: Grid) -> _Side:
    levels = []
    for price_name, size_name in _FIELDS[side]:
        price = row.number(price_name)
        if price and (ticks := grid.ticks(price)) is not None:
            levels.append((ticks, row.integer(size_name)))
    return levels
