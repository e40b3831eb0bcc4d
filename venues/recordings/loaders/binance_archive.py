"""Binance's public archive (data.binance.vision): `trades`, `aggTrades`, `bookTicker`, `bookDepth` of days and months.

Columns and units are those of binance/binance-public-data (README); futures files have a header line, older ones and
spot's have none, spot times are in µs since 2025. The symbol stands in the file's name alone, which `SYMBOL-kind-DATE`
is. The market: futures symbols with a `_` are as they say; of the others the number of columns tells (spot trades
end with "was the trade the best price match", futures trades do not; quotes are published of futures alone).
`bookDepth` sums what rests within some percents of the price: it has no levels, so it is no book.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from market.errors import DataError
from market.events import ASK, BID, BookUpdate, Event
from venues.recordings.loaders.base import Recording, Rows, Traits, head
from venues.recordings.loaders.dated import told_once
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.order import FAR_NS, in_time
from venues.recordings.loaders.trades import BUYER_WAS_MAKER, TRADES_AT_MATCH, Columns, TradeRows
from venues.recordings.loaders.units import Grid
from venues.recordings.loaders.venue_symbols import binance_future
from venues.recordings.terms import RecordingTerms

_COLUMNS = {
    "trades": ("id", "price", "qty", "quote_qty", "time", "is_buyer_maker", "is_best_match"),
    "aggTrades": ("id", "price", "qty", "first_id", "last_id", "time", "is_buyer_maker", "is_best_match"),
    "bookTicker": ("id", "bid_price", "bid_qty", "ask_price", "ask_qty", "transaction_time", "time"),
    "bookDepth": ("time", "percentage", "depth", "notional"),
}
_WIDTHS = {"trades": (6, 7), "aggTrades": (7, 8), "bookTicker": (7,), "bookDepth": (4,)}
_TRADE_COLUMNS = Columns("id", "time", "price", "qty", "is_buyer_maker")
_HEADERS = {
    "trades": ("id", "price", "qty"),
    "aggTrades": ("agg_trade_id", "price", "quantity"),
    "bookTicker": ("update_id", "best_bid_price", "best_bid_qty"),
    "bookDepth": ("timestamp", "percentage", "depth"),
}
_NAME = re.compile(r"([A-Z0-9]+(?:_[A-Z0-9]+)?)-(trades|aggTrades|bookTicker|bookDepth)-\d{4}-\d\d")
_NUMBER = re.compile(r"-?[\d.]+(?:[eE][+-]?\d+)?")
_SPOT, _FUTURES = "spot", "futures"
_FOLDERS = {"spot": _SPOT, "um": _FUTURES, "cm": _FUTURES, "futures": _FUTURES}


class _File(msgspec.Struct, frozen=True):
    path: Path
    kind: str
    columns: tuple[str, ...]
    headed: bool
    market: str
    """`spot` or `futures`."""

    def rows(self) -> Iterator[Rows]:
        yield from Rows(self.path, self.columns, headed=self.headed)


class BinanceArchiveLoader:
    """Best quotes with trades, or either alone; `aggTrades` where no `trades` tell the same."""

    name = "binance_archive"
    traits = Traits()

    def recognises(self, path: Path, head: str) -> bool:
        return _kind(path, head) is not None

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        groups: dict[str, list[_File]] = {}
        for path in paths:
            file = _look(path)
            groups.setdefault(_contract_name(file), []).append(file)
        recordings = []
        for files in groups.values():
            kinds = {file.kind for file in files}
            if kinds == {"bookDepth"}:
                raise DataError(
                    f"{files[0].path}: bookDepth sums what rests within some percents of the price: it has no levels, "
                    "so it is no book; give the bookTicker and trades files of the symbol"
                )
            ordered = sorted(files, key=lambda file: (list(_COLUMNS).index(file.kind), file.path.name))
            found = tuple(file.path for file in ordered)
            recordings.append(Recording(self.name, found, trades_alone="bookTicker" not in kinds))
        return recordings

    def events(self, recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
        files = {path: _look(path) for path in recording.files}
        by_kind = {kind: [path for path in files if files[path].kind == kind] for kind in _COLUMNS}
        trades, left = told_once([by_kind["trades"], by_kind["aggTrades"]])
        quotes, more = told_once([by_kind["bookTicker"]])
        read = [sorted((files[path] for path in paths), key=_first) for paths in (trades, quotes)]
        first = min(_first(file) for paths in read for file in paths[:1])
        name = _contract_name(files[recording.files[0]])
        contract = terms.need("BINANCE", name, first, recording.files[0])
        for path in left + more:
            findings.note(contract.id, path.name, f"{path.name}: left out, other files tell the same")
        for path in by_kind["bookDepth"]:
            findings.note(
                contract.id, path.name, f"{path.name}: left out, sums within percents of the price are no book"
            )
        if trades:
            findings.note(contract.id, "trades", TRADES_AT_MATCH)
        grid = Grid(contract, findings.of(contract.id))
        streams = [_trades(read[0], grid), _quotes(read[1], grid)]
        ordered = [in_time(stream, findings, recording.name) for stream in streams]
        return heapq.merge(*ordered, key=lambda event: event.ts_recv)  # a trade before the quote at one time


def _kind(path: Path, start: str) -> str | None:
    """Which kind of file it is: by its header, else by its name and a first row of numbers."""
    names = _first_row(start)
    named = _named(path)
    if named is not None and _NUMBER.fullmatch(names[0]):
        return named[1] if len(names) in _WIDTHS[named[1]] else None
    for kind, header in _HEADERS.items():
        if names[: len(header)] == header and len(names) in _WIDTHS[kind]:
            return kind
    return None


def _first_row(start: str) -> tuple[str, ...]:
    return tuple(name.strip(' "') for name in start.lstrip().split("\n", 1)[0].strip().split(","))


def _named(path: Path) -> tuple[str, str] | None:
    """Symbol and kind of a file, by its name or its archive's."""
    found = next((m for name in (path.name, path.parent.name) if (m := _NAME.match(name))), None)
    return (found.group(1), found.group(2)) if found is not None else None


def _look(path: Path) -> _File:
    start = head(path)
    kind, names = _kind(path, start), _first_row(start)
    if kind is None:
        raise DataError(f"{path}: its columns are not those of a file of Binance's archive")
    is_spot = kind in ("trades", "aggTrades") and len(names) == max(_WIDTHS[kind])
    columns = _COLUMNS[kind][: len(names)]
    return _File(path, kind, columns, not _NUMBER.fullmatch(names[0]), _SPOT if is_spot else _FUTURES)


def _contract_name(file: _File) -> str:
    """The instrument as the contract table has it; raises where name, folder and columns do not say it together."""
    named = _named(file.path)
    if named is None:
        raise DataError(
            f"{file.path}: its name does not say whose it is; "
            f"name it as Binance does, BTCUSDT-{file.kind}-2024-07-18.csv"
        )
    symbol = named[0]
    folders = {_FOLDERS[part.lower()] for part in file.path.parts[:-1] if part.lower() in _FOLDERS}
    if "_" in symbol:
        folders.add(_FUTURES)
    if folders and file.market not in folders:
        (other,) = folders
        raise DataError(
            f"{file.path}: its columns are those of {file.market}, its name or folder is of {other}; "
            "put it where it belongs, or describe its columns with --map"
        )
    return symbol if file.market == _SPOT else binance_future(symbol)


def _first(file: _File) -> int:
    for row in file.rows():
        return row.time("time")
    raise DataError(f"{file.path}: it holds no rows")


def _trades(files: list[_File], grid: Grid) -> Iterator[Event]:
    kinds = {"trades": TradeRows(grid), "aggTrades": TradeRows(grid)}
    for file in files:
        rows = kinds[file.kind]
        for row in file.rows():
            trade = rows.row(row, row.time("time"), _TRADE_COLUMNS, BUYER_WAS_MAKER)
            if trade is not None:
                yield trade


def _quotes(files: list[_File], grid: Grid) -> Iterator[Event]:
    last_id = last = 0
    for file in files:
        for row in file.rows():
            update_id, ts = row.integer("id"), row.time("time")
            if update_id <= last_id and last - FAR_NS <= ts <= last:
                grid.counts["quote_older_than_book"] += 1
                continue
            last_id, last = update_id, ts
            levels = grid.snapshot([_side(row, BID, "bid"), _side(row, ASK, "ask")])
            if levels is not None:
                event_ts = row.time("transaction_time")
                yield BookUpdate(grid.contract.id, event_ts, ts, levels, snapshot=True, depth=1)


def _side(row: Rows, side: int, name: str) -> tuple[int, float, float]:
    price, size = row.optional(f"{name}_price"), row.optional(f"{name}_qty")
    if price is None or size is None:
        raise row.error(f"{name}_price" if price is None else f"{name}_qty", "a number")
    return side, price, size
