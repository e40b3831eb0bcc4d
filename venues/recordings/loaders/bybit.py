"""Bybit: order book archives (`ob200`, `ob500`), trade archives, and captures of its public socket (v5).

Book and trades of the same symbol and market, given together, are one recording. The archives bear no
arrival times: a message stands at the time at which the exchange made it (`ts`), a trade at that of its match.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from market.errors import DataError
from market.events import BookUpdate, Event
from venues.recordings.loaders.base import Recording, Rows, Traits
from venues.recordings.loaders.bybit_files import BybitFile, kind, look, sent, settle, topic
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.order import in_time
from venues.recordings.loaders.socket_capture import ODD, Capture, odd, word
from venues.recordings.loaders.trades import TRADES_AT_MATCH, Columns, TradeRows, aggressor
from venues.recordings.loaders.units import Grid, epoch_ns
from venues.recordings.terms import RecordingTerms

_COLUMNS = {
    "trades": Columns("trdMatchID", "timestamp", "price", "size", "side"),
    "spot_trades": Columns("id", "timestamp", "price", "volume", "side"),
}
_RESTARTED = 1
"""Update id of a snapshot after the exchange's service was started anew."""


class BybitLoader:
    """A book with its trades, a capture of several symbols, or trades alone."""

    name = "bybit"
    traits = Traits()

    def recognises(self, path: Path, head: str) -> bool:
        return kind(head) is not None

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        files = _looked(paths)
        groups: dict[tuple[tuple[str, str], ...], list[BybitFile]] = {}
        for file in files:
            if file.kind == "messages":
                groups.setdefault(tuple(sorted(file.markets.items())), []).append(file)
        alone: dict[tuple[tuple[str, str], ...], list[BybitFile]] = {}
        for file in files:
            if file.kind != "messages":
                of = tuple(file.markets.items())
                home = next((known for known in groups if of[0] in known), None)
                (alone.setdefault(of, []) if home is None else groups[home]).append(file)
        return [
            Recording(self.name, tuple(file.path for file in group), trades_alone=not any(f.depths for f in group))
            for group in (*groups.values(), *alone.values())
        ]

    def events(self, recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
        files = _looked(recording.files)
        feeds = _Feeds(terms, findings)
        streams = [_trades([file for file in files if file.kind != "messages"], feeds)]
        streams.append(_messages([file for file in files if file.kind == "messages"], feeds))
        ordered = [in_time(stream, findings, recording.name) for stream in streams]
        yield from heapq.merge(*ordered, key=lambda event: event.ts_recv)  # a trade before the book at one time
        feeds.finish(recording)


class _Feeds:
    """One feed a symbol and market."""

    def __init__(self, terms: RecordingTerms, findings: Findings) -> None:
        self._terms, self.findings = terms, findings
        self._feeds: dict[tuple[str, str], _Feed] = {}

    def of(self, symbol: str, file: BybitFile, ts: int) -> _Feed:
        market = file.market_of(symbol)
        feed = self._feeds.get((symbol, market))
        if feed is None:
            contract = self._terms.need("BYBIT", f"{symbol}-{market.upper()}", ts, file.path)
            feed = self._feeds[symbol, market] = _Feed(Grid(contract, self.findings.of(contract.id)))
        if symbol in file.why:
            self.findings.note(feed.id, "market", f"taken for Bybit's {market} market: {file.why[symbol]}")
        return feed

    def next_file(self) -> None:
        for feed in self._feeds.values():
            feed.update_id = 0

    def finish(self, recording: Recording) -> None:
        """Raise when no symbol ever got a snapshot: there is no book to tell of."""
        if not recording.trades_alone and not any(feed.has_book for feed in self._feeds.values()):
            raise DataError(f"{recording.files[0]}: no snapshot of the book is in it; give the file before it too")


class _Feed:
    """One instrument: its book kept in sequence, its trades counted once."""

    def __init__(self, grid: Grid) -> None:
        self.id, self.grid, self.trades = grid.contract.id, grid, TradeRows(grid)
        self.has_book = False
        self.update_id = 0  # of the last message, 0 where the next is not bound to follow it
        self._sequence = self._ts_event = 0

    def book(self, ts: int, message: dict[str, Any], depth: int) -> BookUpdate | None:
        """What a book message changes: a snapshot replaces, a change sets sizes, 0 removes."""
        data, counts = message["data"], self.grid.counts
        update_id, sequence = int(data.get("u", 0)), int(data.get("seq", 0))
        ts_event = epoch_ns(int(message.get("cts") or data.get("cts") or message["ts"]))
        snapshot = message["type"] == "snapshot" or update_id == _RESTARTED
        if snapshot:
            if update_id != _RESTARTED and sequence < self._sequence and ts_event < self._ts_event:
                counts["snapshot_older_than_book"] += 1
                return None
            self.has_book = True
        elif message["type"] != "delta":
            raise ValueError(f"type {message['type']}")
        elif not self.has_book:
            counts["diff_before_snapshot"] += 1
            return None
        elif self._is_older(update_id, sequence):
            counts["diff_older_than_snapshot"] += 1
            return None
        elif self.update_id and update_id != self.update_id + 1:
            counts["sequence_gap"] += 1  # kept: a change holds sizes
        self.update_id, self._sequence, self._ts_event = update_id, sequence, ts_event
        levels = self.grid.levels(data["b"], data["a"])
        return (
            BookUpdate(self.id, ts_event, ts, levels, snapshot, depth=int(depth == 1)) if levels or snapshot else None
        )

    def _is_older(self, update_id: int, sequence: int) -> bool:
        """Whether a change is in the book already: captures that overlap tell it twice."""
        return 0 < update_id <= self.update_id if sequence == self._sequence else sequence < self._sequence


def _looked(paths: Sequence[Path]) -> list[BybitFile]:
    files = sorted((look(path) for path in paths), key=lambda file: file.first_ns)
    settle(files)
    return files


def _trades(files: list[BybitFile], feeds: _Feeds) -> Iterator[Event]:
    for file in files:
        names, symbol = _COLUMNS[file.kind], next(iter(file.markets))
        for row in Rows(file.path):
            if file.kind == "trades" and row.text("symbol").strip() != symbol:
                raise row.error("symbol", f"{symbol}, whose trades the file holds")
            ts = row.stamp(names.time)
            feed = feeds.of(symbol, file, ts)
            trade = feed.trades.row(row, ts, names)
            if trade is not None:
                yield trade
            feeds.findings.note(feed.id, "trades", TRADES_AT_MATCH)


def _messages(files: list[BybitFile], feeds: _Feeds) -> Iterator[Event]:
    for file in files:
        capture = Capture(file.path, sent)
        feeds.next_file()
        for where, ts, message in capture:
            try:
                yield from _events(ts, message, file, feeds, capture.remark)
            except ODD as error:
                raise odd(where, error) from error


def _events(ts: int, message: Any, file: BybitFile, feeds: _Feeds, remark: str) -> Iterator[Event]:
    found = topic(message)
    counts = feeds.findings.shared
    if found is None:
        counts["control_message"] += 1
        return
    name, depth, _ = found
    if name == "orderbook":
        symbol = word(message["data"]["s"])
        feed = feeds.of(symbol, file, ts)
        file.depths[symbol] = max(depth, file.depths.get(symbol, 0))
        if depth < file.depths[symbol]:
            feed.grid.counts["shallower_book"] += 1
            return
        if remark:
            feeds.findings.note(feed.id, "arrival", remark)
        update = feed.book(ts, message, depth)
        if update is not None:
            yield update
    elif name == "publicTrade":
        for row in message["data"]:
            feed = feeds.of(word(row["s"]), file, ts)
            if row.get("BT"):
                feed.grid.counts["trade_not_on_book"] += 1  # a block trade
                continue
            stamp = epoch_ns(int(row["T"])), ts
            trade = feed.trades.trade(str(row.get("i", "")), stamp, row["p"], row["v"], aggressor(row["S"]))
            if trade is not None:
                yield trade
    else:
        counts[f"stream_{name}"] += 1
