"""hftbacktest's own files: changes of price levels (L2) or of orders (L3), and trades.

An event stands in a row of its own for the exchange and another for the local side where the two clocks disagree about
its place; arrival is what counts here, so that rows of the local side are read and those of the exchange alone left
out. Rows of the same two times are one change. A file does not say its instrument.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from market.errors import DataError, EmptyFileError
from market.events import ASK, BID, BUY, NO_AGGRESSOR, SELL, BookUpdate, Event, Level, OrderUpdate, Trade
from market.level_book import LevelBook
from venues.recordings.loaders.base import Recording, Traits
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.hftbacktest_file import (
    ADD,
    BEST_QUOTE,
    BUY_EVENT,
    CANCEL,
    CLEAR,
    DEPTH,
    FILL,
    KIND,
    LOCAL_EVENT,
    MODIFY,
    SELL_EVENT,
    SNAPSHOT,
    TRADE,
    Note,
    is_array,
    pieces,
    read_note,
)
from venues.recordings.loaders.order import in_time
from venues.recordings.loaders.units import Grid, epoch_ns
from venues.recordings.terms import RecordingTerms

_NAMED = re.compile(r"([\w-]+\.[A-Z]+)(?:[._]\d{4}-?\d{2}-?\d{2})?\.np[yz]")
_AGGRESSORS = {BUY_EVENT: BUY, SELL_EVENT: SELL}
_SIDES = {BUY_EVENT: BID, SELL_EVENT: ASK}
_SIDE = BUY_EVENT | SELL_EVENT
_BOOK = (DEPTH, CLEAR, SNAPSHOT, ADD, CANCEL, MODIFY)
_NO_WHOLE_BOOK = "no event shows the whole book: what rested before the first is missing until it changes"

type _Row = tuple[int, int, int, float, float, int, int, float]


class HftbacktestLoader:
    """Files of one instrument given together follow each other, each that begins with the whole book a recording.

    A file whose times are zero is the book before the next.
    """

    name = "hftbacktest"
    traits = Traits(asks="instrument")

    def recognises(self, path: Path, head: str) -> bool:
        return (head[1:6] == "NUMPY" or head[:2] == "PK") and is_array(path)

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        recordings: list[tuple[str, list[Path]]] = []
        for name, (_, is_whole), path in sorted((_named(path), _begins(path), path) for path in paths):
            if is_whole or not recordings or recordings[-1][0] != name:
                recordings.append((name, []))
            recordings[-1][1].append(path)
        return [
            Recording(self.name, tuple(files), trades_alone=not any(_tells_of_a_book(path) for path in files))
            for _, files in recordings
        ]

    def events(self, recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
        return in_time(_events(recording, terms, findings), findings, recording.name)


def _named(path: Path) -> str:
    """The instrument that a file's note or name tells, or nothing."""
    note, match = read_note(path), _NAMED.fullmatch(path.name)
    return note.instrument if note is not None else match.group(1) if match is not None else ""


def _begins(path: Path) -> tuple[int, bool]:
    """The first time of a file, and whether it empties the book then: it needs none before."""
    for events in pieces(path):
        seen = events[(events["ev"] & LOCAL_EVENT) != 0]
        if len(seen):
            return int(seen["local_ts"][0]), int(seen["ev"][0]) & (KIND | _SIDE) == CLEAR
    return 0, False


def _tells_of_a_book(path: Path) -> bool:
    return any(np.isin(events["ev"] & KIND, _BOOK).any() for events in pieces(path))


def _events(recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
    stream: _Stream | None = None
    instrument = _instrument(recording)
    is_empty, is_local = True, False
    for path in recording.files:
        note = read_note(path)
        for events in pieces(path):
            is_empty = False
            for row in events.tolist():
                if not row[0] & LOCAL_EVENT:
                    findings.shared["exchange_event"] += 1
                    continue
                is_local = True
                try:
                    if stream is None:
                        ts = epoch_ns(row[2]) if row[2] else 0
                        if not ts:
                            ts = epoch_ns(_next_time(recording.files))
                        symbol, _, exchange = instrument.rpartition(".")
                        contract = terms.need(exchange, symbol, ts, path)
                        stream = _Stream(Grid(contract, findings.of(contract.id)), findings)
                    yield from stream.events(row, note)
                except ValueError as error:
                    raise DataError(f"{path}: an event's time: {error}") from error
    if is_empty:
        raise EmptyFileError(f"{recording.name}: it holds no event")
    if not is_local:
        raise DataError(
            f"{recording.files[0]}: no event is marked as the local side's (LOCAL_EVENT); "
            "put it into order with hftbacktest's correct_event_order first"
        )
    if stream is not None:
        yield from stream.end()


def _instrument(recording: Recording) -> str:
    named, chosen = _named(recording.files[0]), "".join(recording.chosen)
    if not named and not chosen:
        raise DataError(
            f"{recording.name}: a file of hftbacktest does not say its instrument; give it, "
            "e.g. --instrument BTCUSDT-PERP.BINANCE, or begin the file's name with it"
        )
    if named and chosen and named != chosen:
        raise DataError(f"{recording.name}: it is of {named}, not of {chosen}; leave --instrument out")
    if "." not in (named or chosen):
        raise DataError(f"--instrument {chosen}: the exchange is missing, as in BTCUSDT-PERP.BINANCE")
    return named or chosen


def _next_time(files: Sequence[Path]) -> int:
    """The first time of any file, where the first file is a book without one."""
    return next((ts for path in files if (ts := _begins(path)[0]) > 0), 0)


class _Stream:
    """One instrument's events, gathered into the changes that they are part of."""

    def __init__(self, grid: Grid, findings: Findings) -> None:
        self._grid, self._id, self._counts, self._findings = grid, grid.contract.id, grid.counts, findings
        self._book = LevelBook()
        self._message: list[Level] = []
        self._orders: dict[int, tuple[int, int]] = {}
        self._changed = False  # orders, since the last change ended
        self._stamp = (-1, -1)
        self._times = (0, 0)
        self._depth = 0
        self._begun = False

    def events(self, row: _Row, note: Note | None) -> Iterator[Event]:
        ev, exchange, local, price, size, order, set_back, _ = row
        if (exchange, local) != self._stamp:
            if local:  # a book without times is part of the next change
                yield from self.end()
            self._stamp, self._depth = (exchange, local), note.depth if note is not None else 0
            if local:
                arrival = epoch_ns(local)
                told = epoch_ns(exchange) if exchange > 0 else arrival
                self._times = (told + set_back if note is not None else told, arrival)
        kind, side = ev & KIND, ev & _SIDE
        if kind == TRADE:
            if self._message and local:
                yield from self.end()
            yield from self._trade(price, size, _AGGRESSORS.get(side, NO_AGGRESSOR))
        elif kind in (DEPTH, SNAPSHOT) and side in _SIDES:
            self._begin(whole=kind == SNAPSHOT)
            level = self._grid.level(_SIDES[side], price, size)
            if level is not None:
                self._set(level)
        elif kind == CLEAR:
            self._begin(whole=True)
            yield from self._clear(_SIDES.get(side), price)
        elif kind in (ADD, MODIFY, CANCEL):
            self._begin(whole=False)
            yield from self._order(kind, side, order, price, size)
        elif kind == BEST_QUOTE:
            self._counts["best_quote_event"] += 1
        elif kind != FILL:  # a fill is told again by what happens to its order
            self._counts["row_of_no_kind"] += 1

    def end(self) -> Iterator[Event]:
        """End the change at hand."""
        if not self._times[1]:
            return
        if self._message:
            yield BookUpdate(self._id, *self._times, self._message, depth=self._depth)
            self._message = []
        if self._changed:
            self._changed = False
            yield OrderUpdate(self._id, *self._times, 0, BID, 0, 0)

    def _begin(self, *, whole: bool) -> None:
        if not self._begun and not whole:
            self._findings.note(self._id, "whole", _NO_WHOLE_BOOK)
        self._begun = True

    def _set(self, level: Level) -> None:
        self._book.set(*level)
        self._message.append(level)

    def _trade(self, price: float, size: float, aggressor: int) -> Iterator[Trade]:
        ticks = self._grid.ticks(price)
        if ticks is None or not self._times[1]:
            return
        lots = self._grid.lots(size)
        if not lots:
            self._counts["empty_trade"] += 1
            return
        yield Trade(self._id, *self._times, ticks, lots, aggressor)

    def _clear(self, side: int | None, price: float) -> Iterator[Event]:
        """Empty the book, or one side of it from its best price to another one."""
        for one, ticks, _ in list(self._book.levels()):
            at = ticks * self._grid.contract.tick
            if side is None or (one == side and (not abs(price) > 0 or (at >= price if side == BID else at <= price))):
                self._set((one, ticks, 0))
        if self._orders:
            for order, (one, ticks) in list(self._orders.items()):
                if side is None or one == side:
                    del self._orders[order]
                    yield self._update(order, one, ticks, 0)

    def _order(self, kind: int, side: int, order: int, price: float, size: float) -> Iterator[Event]:
        known = self._orders.get(order)
        if not 0 < order < 1 << 63:
            raise DataError(f"{self._id}: {order} is no order's number")
        if kind == ADD and known is not None:
            self._counts["duplicate_order"] += 1
            return
        if kind != ADD and known is None:
            self._counts["unknown_order"] += 1
            if kind == CANCEL or side not in _SIDES:
                return
        if kind == CANCEL:
            assert known is not None
            del self._orders[order]
            yield self._update(order, *known, 0)
            return
        if known is None and side not in _SIDES:
            self._counts["no_side"] += 1
            return
        level = self._grid.level(known[0] if known is not None else _SIDES[side], price, size)
        if level is None or not level[2]:
            if known is not None:  # it left for where it cannot be followed
                del self._orders[order]
                yield self._update(order, *known, 0)
            return
        self._orders[order] = level[:2]
        yield self._update(order, *level)

    def _update(self, order: int, side: int, ticks: int, lots: int) -> OrderUpdate:
        self._changed = True
        return OrderUpdate(self._id, *self._times, order, side, ticks, lots, last=False)
