"""OKX: order book history (JSON lines in `…-L2orderbook-400lv-….tar.gz`), trade history (CSV), and captures of its
public socket (v5).

Book and trades of the same instrument, given together, are one recording; a file may hold several instruments.
Sizes of swaps and futures are contracts, as the contract table has them. The history bears no arrival times.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from market.errors import DataError
from market.events import Event
from venues.recordings.loaders.base import Recording, Rows, Traits, head
from venues.recordings.loaders.dated import told_once
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.okx_stream import DEPTHS, EACH_TRADE, OkxFeeds, messages, sent
from venues.recordings.loaders.order import in_time
from venues.recordings.loaders.socket_capture import ODD, Capture, odd
from venues.recordings.loaders.trades import TRADES_AT_MATCH, Columns
from venues.recordings.terms import RecordingTerms

_HEAD_MESSAGES = 500
_BOOK = re.compile(r'"instId"\s*:.*?"(?:action|asks|channel)"\s*:|"channel"\s*:.*?"instId"\s*:', re.S)
_NAME = re.compile(r"([A-Z0-9]+(?:-[A-Z0-9]+)+)-(agg)?trades-\d{4}-\d\d")
_NAMES = ("trade_id", "side", "size", "price", "created_time")
"""Columns before headers were written (until 2022), and as headers have them since, behind an instrument or not."""
_ROW = re.compile(r"\d+,(?:buy|sell),[\d.eE+-]+,[\d.eE+-]+,\d{10,19}(?:\.\d*)?\s*$", re.I)
_TRADES = Columns("trade_id", "created_time", "price", "size", "side")


class _File(msgspec.Struct, frozen=True):
    path: Path
    kind: str
    """`book` (messages), `trades` or `aggregates`."""
    first_ns: int
    symbols: dict[str, int]
    """Instruments among the first rows, with the levels of their deepest book, 0 for trades alone."""
    told: set[str]
    """Instruments of which it tells each trade."""

    @property
    def has_book(self) -> bool:
        return any(self.symbols.values())


class OkxLoader:
    """A book with its trades, a capture of several instruments, or trades alone."""

    name = "okx"
    traits = Traits()

    def recognises(self, path: Path, head: str) -> bool:
        return _kind(path, head) is not None

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        files = _looked(paths)
        groups: dict[tuple[str, ...], list[_File]] = {}
        for file in files:
            if file.kind == "book":
                groups.setdefault(tuple(sorted(file.symbols)), []).append(file)
        alone: dict[tuple[str, ...], list[_File]] = {}
        for file in files:
            if file.kind != "book":
                home = next((known for known in groups if not file.symbols.keys().isdisjoint(known)), None)
                (alone.setdefault(tuple(file.symbols), []) if home is None else groups[home]).append(file)
        return [
            Recording(
                self.name, tuple(f.path for f in group), trades_alone=not any(any(f.symbols.values()) for f in group)
            )
            for group in (*groups.values(), *alone.values())
        ]

    def events(self, recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
        files = _looked(recording.files)
        books = [file for file in files if file.kind == "book"]
        feeds = OkxFeeds(terms, findings, {symbol for file in books for symbol in file.symbols})
        streams = [_trades(files, feeds), _books(books, feeds)]
        ordered = [in_time(stream, findings, recording.name) for stream in streams]
        yield from heapq.merge(*ordered, key=lambda event: event.ts_recv)  # a trade before the book at one time
        if not recording.trades_alone and not feeds.has_book:
            raise DataError(f"{recording.files[0]}: no snapshot of the book is in it; give the file before it too")


def _kind(path: Path, head: str) -> str | None:
    first = head.lstrip().split("\n", 1)[0]
    if set(_NAMES) <= set(_header(first)) or (_ROW.match(first) and _named(path)):
        return "aggregates" if "aggtrades" in f"{path.parent.name}/{path.name}".lower() else "trades"
    return "book" if _BOOK.search(head) else None


def _header(first: str) -> list[str]:
    """Names of the columns; older headers write each twice, `side/…`, the second in Chinese (GBK)."""
    return [name.strip(' "\r').partition("/")[0].lower() for name in first.split(",")]


def _named(path: Path) -> str:
    """The instrument that a file's name, or its archive's, holds."""
    found = next((m for name in (path.name, path.parent.name) if (m := _NAME.match(name))), None)
    return found.group(1) if found is not None else ""


def _looked(paths: Sequence[Path]) -> list[_File]:
    return sorted((_look(path) for path in paths), key=lambda file: file.first_ns)


def _look(path: Path) -> _File:
    """Read a file's head."""
    start = head(path)
    kind = _kind(path, start) or "book"
    if kind != "book":
        for symbol, row in _rows(path):
            return _File(path, kind, row.stamp(_TRADES.time), {symbol: 0}, {symbol})
        raise DataError(f"{path}: it holds no trades")
    first, symbols, told = 0, dict[str, int](), set[str]()
    for number, (where, ts, message) in enumerate(Capture(path, sent)):
        first = first or ts
        try:
            for found in messages(message):
                symbols[found.symbol] = max(symbols.get(found.symbol, 0), DEPTHS.get(found.channel, 0))
                told |= {found.symbol} if found.channel == EACH_TRADE else set()
        except ODD as error:
            raise odd(where, error) from error
        if number >= _HEAD_MESSAGES and any(symbols.values()):
            break
    if not symbols:
        raise DataError(f"{path}: it holds no order book and no trades of OKX")
    return _File(path, kind, first, symbols, told)


def _rows(path: Path) -> Iterator[tuple[str, Rows]]:
    """Rows of trades, each with its instrument."""
    first = head(path).lstrip().split("\n", 1)[0]
    names = _header(first)
    headed = set(_NAMES) <= set(names)
    own = "instrument_name" in names
    symbol = "" if own else _named(path)
    if not own and not symbol:
        raise DataError(
            f"{path}: neither its columns nor its name say the instrument; name it as OKX does, "
            "BTC-USDT-SWAP-trades-2024-07-18.csv"
        )
    for row in Rows(path, names if headed else _NAMES, headed=headed):
        yield row.text("instrument_name").strip() if own else symbol, row


def _trades(files: list[_File], feeds: OkxFeeds) -> Iterator[Event]:
    kinds = [[file.path for file in files if file.kind == kind] for kind in ("trades", "aggregates")]
    read, left = told_once(kinds)
    noted: set[str] = set()
    for file in files:
        if file.path not in read:
            continue
        for symbol, row in _rows(file.path):
            if feeds.leaves(symbol):
                feeds.findings.shared["other_instrument"] += 1
                continue
            ts = row.stamp(_TRADES.time)
            feed = feeds.of(symbol, ts, file.path)
            trade = feed.trades.row(row, ts, _TRADES)
            if trade is not None:
                yield trade
            if feed.id not in noted:
                noted.add(feed.id)
                feeds.findings.note(feed.id, "trades", TRADES_AT_MATCH)
                for path in left:
                    feeds.findings.note(feed.id, path.name, f"{path.name}: left out, other files tell its trades")


def _books(files: list[_File], feeds: OkxFeeds) -> Iterator[Event]:
    for file in files:
        capture = Capture(file.path, sent)
        feeds.next_file(file.symbols, file.told)
        for where, ts, message in capture:
            try:
                yield from feeds.events(ts, message, file.path)
            except ODD as error:
                raise odd(where, error) from error
        yield from feeds.end_file(capture.remark)
