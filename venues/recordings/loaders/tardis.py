"""Tardis CSV: `incremental_book_L2`, `book_snapshot_N`, `book_ticker`, `quotes` and `trades` (times in microseconds).

Book and `trades` files of the same symbol, given together, are one recording; a file may hold many
symbols (`…_PERPETUALS.csv`), each row says whose it is.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from market.events import ASK, BID, BUY, NO_AGGRESSOR, SELL, BookUpdate, Event, Level
from venues.recordings.loaders.base import Recording, Rows, Traits, head
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.messages import MessageBook, next_message
from venues.recordings.loaders.order import in_time
from venues.recordings.loaders.tardis_names import venue_and_symbol
from venues.recordings.loaders.trades import TradeRows
from venues.recordings.loaders.units import Grid
from venues.recordings.terms import RecordingTerms

_QUOTES = "ask_amount,ask_price,bid_price,bid_amount"
_BOOKS = ("incremental", "snapshot", "book_ticker", "quotes")
"""By how much they tell; `book_ticker` is the exchange's feed of best quotes, `quotes` are read off its book."""
_SNAPSHOT = re.compile(r"(asks|bids)\[(\d+)\]\.price")
_NAME = re.compile(
    r"_(?:incremental_book_L2|book_snapshot_\d+|book_ticker|quotes|trades)_\d{4}-\d{2}-\d{2}_([^.]+)\.csv"
)
_SIDES = {"bid": BID, "ask": ASK}
_AGGRESSORS = {"buy": BUY, "sell": SELL}


class TardisLoader:
    """Any mix of the data types; of a symbol's books the one that tells most is read."""

    name = "tardis"
    traits = Traits()

    def recognises(self, path: Path, head: str) -> bool:
        return _kind(path, head.split("\n", 1)[0]) is not None

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        groups: dict[tuple[str, str], dict[str, list[Path]]] = {}
        for path in sorted(paths):
            header, _, rest = head(path).partition("\n")
            exchange, _, others = rest.partition("\n")[0].partition(",")
            named = _NAME.search(path.name)
            key = (exchange, named.group(1) if named else others.partition(",")[0])
            groups.setdefault(key, {}).setdefault(_kind(path, header) or "", []).append(path)
        recordings = []
        for kinds in groups.values():
            books = next((kinds[kind] for kind in _BOOKS if kind in kinds), None)
            files = *(books or ()), *kinds.get("trades", ())
            recordings.append(Recording(self.name, files, trades_alone=books is None))
        return recordings

    def events(self, recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
        kinds: dict[str, list[Path]] = {}
        for path in recording.files:
            kinds.setdefault(_kind(path, head(path).partition("\n")[0]) or "", []).append(path)
        streams: list[Iterator[Event]] = []
        for kind in ("trades", *_BOOKS):
            if kind in kinds:
                read = _READERS.get(kind, _best_quotes)
                rows = _Reader(kinds[kind], terms, findings)
                streams.append(in_time(read(rows), findings, recording.name))
        return heapq.merge(*streams, key=lambda event: event.ts_recv)  # a trade before the book at one time


def _kind(path: Path, header: str) -> str | None:
    if not header.startswith("exchange,symbol,timestamp,local_timestamp"):
        return None
    if "is_snapshot" in header:
        return "incremental"
    if "asks[0].price" in header:
        return "snapshot"
    if header.strip().endswith(_QUOTES):
        return "book_ticker" if "book_ticker" in path.name else "quotes"
    return "trades" if header.strip().endswith("id,side,price,amount") else None


class _Symbol(MessageBook):
    """One instrument's grid, and how far its book has come."""

    def __init__(self, grid: Grid) -> None:
        super().__init__(grid.contract.id)
        self.grid, self.counts = grid, grid.counts
        self.trades = TradeRows(grid)

    def level(self, row: Rows, side: int, price: str, amount: str) -> Level | None:
        """A level of the row; None where it is off the tick, or where nothing stands."""
        found = _shown(row, side, price, amount)
        return self.grid.level(*found) if found is not None else None


class _Reader:
    """Rows with their symbol and times."""

    def __init__(self, paths: list[Path], terms: RecordingTerms, findings: Findings) -> None:
        self._paths, self._terms, self._findings = paths, terms, findings
        self.symbols: dict[tuple[str, str], _Symbol] = {}

    def __iter__(self) -> Iterator[tuple[Rows, _Symbol, int, int]]:
        for path in self._paths:
            for row in Rows(path):
                ts = row.time("local_timestamp")
                key = (row.text("exchange"), row.text("symbol"))
                symbol = self.symbols.get(key)
                if symbol is None:
                    symbol = self.symbols[key] = self._add(key, ts, path)
                yield row, symbol, row.time("timestamp"), ts

    def _add(self, key: tuple[str, str], ts: int, path: Path) -> _Symbol:
        contract = self._terms.need(*venue_and_symbol(*key), ts, path)
        return _Symbol(Grid(contract, self._findings.of(contract.id)))


def _snapshots(rows: _Reader) -> Iterator[Event]:
    names: list[tuple[int, str, str]] = []
    for row, symbol, ts_event, ts in rows:
        if not names:
            names = [
                (ASK if m.group(1) == "asks" else BID, column, column.replace(".price", ".amount"))
                for column in row.columns
                if (m := _SNAPSHOT.fullmatch(column))
            ]
        shown = [found for name in names if (found := _shown(row, *name)) and found[2]]
        levels = symbol.grid.snapshot(shown)
        if levels is not None:
            yield BookUpdate(symbol.id, ts_event, ts, levels, snapshot=True, depth=len(names) // 2)


def _best_quotes(rows: _Reader) -> Iterator[Event]:
    names = (BID, "bid_price", "bid_amount"), (ASK, "ask_price", "ask_amount")
    for row, symbol, ts_event, ts in rows:
        shown = [found for name in names if (found := _shown(row, *name)) and found[2]]
        levels = symbol.grid.snapshot(shown)
        if levels is not None:
            yield BookUpdate(symbol.id, ts_event, ts, levels, snapshot=True, depth=1)


def _shown(row: Rows, side: int, price: str, amount: str) -> tuple[int, float, float] | None:
    """Side, price and size of two fields; None where both say nothing."""
    where, size = row.optional(price), row.optional(amount)
    if where is None or size is None or size < 0:
        if where or size:
            raise row.error(price if where is None else amount, "a number")
        return None
    return side, where, size


def _incremental(rows: _Reader) -> Iterator[Event]:
    """Rows of one local timestamp are one message; a snapshot replaces the book."""
    now = 0
    for row, symbol, ts_event, ts in rows:
        is_snapshot = row.text("is_snapshot").strip().lower() in ("true", "1", "t")
        side = _SIDES.get(row.text("side"))
        if side is None:
            raise row.error("side", "bid or ask")
        if ts != now:
            yield from next_message(rows.symbols.values(), symbol, is_snapshot, ts_event)
            now = ts
        elif symbol.is_snapshot != is_snapshot:
            yield from symbol.end_message()
        if not symbol.has_book and not is_snapshot:
            symbol.counts["diff_before_snapshot"] += 1
            continue
        symbol.has_book = True
        symbol.stamp, symbol.is_snapshot = (ts_event, ts), is_snapshot
        level = symbol.level(row, side, "price", "amount")
        if level is not None:
            symbol.message.append(level)
    for symbol in rows.symbols.values():
        yield from symbol.end_message()
        yield from symbol.flush()


def _trades(rows: _Reader) -> Iterator[Event]:
    for row, symbol, ts_event, ts in rows:
        found = _shown(row, BID, "price", "amount")
        if found is None:
            continue
        aggressor = _AGGRESSORS.get(row.text("side"), NO_AGGRESSOR)
        trade = symbol.trades.trade(row.text("id"), (ts_event, ts), *found[1:], aggressor)
        if trade is not None:
            yield trade


_READERS = {"trades": _trades, "incremental": _incremental, "snapshot": _snapshots}
