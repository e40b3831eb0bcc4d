"""Messages of OKX, of its order book history and of its public socket, as events.

In the history a line is one message: `{"instId", "action", "ts", "asks", "bids"}`, levels as [price, size, orders].
On the socket `arg` names channel and instrument, `data` holds one or more of the same, with `seqId` and `prevSeqId`
that chain (www.okx.com/docs-v5, order book channel).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from market.events import BookUpdate, Event, Level
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.socket_capture import word
from venues.recordings.loaders.trades import TradeRows, aggressor
from venues.recordings.loaders.units import Grid, epoch_ns
from venues.recordings.terms import RecordingTerms

HISTORY = "history"
DEPTHS = {HISTORY: 400, "books": 400, "books-l2-tbt": 400, "books50-l2-tbt": 50, "books5": 5, "bbo-tbt": 1}
"""Levels a side of each channel; the last two show them anew with each message."""
_ALL_SHOWN = ("books5", "bbo-tbt")
EACH_TRADE = "trades-all"
TRADES = (EACH_TRADE, "trades")
"""The second tells those of one order at one price as one."""


class Message(NamedTuple):
    """One row of a channel."""

    channel: str
    symbol: str
    action: str
    row: dict[str, Any]


def messages(message: Any) -> list[Message]:
    """The rows of a message; none of answers, heartbeats and other channels."""
    if not isinstance(message, dict):
        return []
    if "instId" in message and "asks" in message:
        return [Message(HISTORY, word(message["instId"]), message["action"], message)]
    arg = message.get("arg")
    if not isinstance(arg, dict) or "data" not in message:
        return []
    channel = word(arg["channel"])
    if channel not in DEPTHS and channel not in TRADES:
        return []
    action = "snapshot" if channel in _ALL_SHOWN else message.get("action", "")
    return [Message(channel, word(row.get("instId", arg["instId"])), action, row) for row in message["data"]]


def sent(message: Any) -> int | None:
    """When the exchange sent a message, ns."""
    rows = messages(message)
    return epoch_ns(int(rows[-1].row["ts"])) if rows else None


class OkxFeed:
    """One instrument: its book kept in sequence, its trades counted once."""

    def __init__(self, grid: Grid) -> None:
        self.id, self.grid, self.trades = grid.contract.id, grid, TradeRows(grid)
        self.has_book = False
        self.sequence = 0  # of the last message, 0 where the next is not bound to follow it

    def takes(self, message: Message) -> bool:
        """Whether a message of the book is of use, by its place in the sequence."""
        counts, row = self.grid.counts, message.row
        number, previous = int(row.get("seqId", 0)), int(row.get("prevSeqId", 0))
        if message.action == "snapshot":
            self.has_book = True
        elif message.action != "update":
            raise ValueError(f"action {message.action}")
        elif not self.has_book:
            counts["diff_before_snapshot"] += 1
            return False
        elif self.sequence and previous < number <= self.sequence:
            counts["diff_older_than_snapshot"] += 1
            return False
        elif self.sequence and previous != self.sequence:
            counts["sequence_gap"] += 1  # kept: a change holds sizes
        self.sequence = number
        return True


class _Pending(NamedTuple):
    """A change that may go on: updates of one time are one."""

    feed: OkxFeed
    stamp: tuple[int, int]
    levels: list[Level]


class OkxFeeds:
    """The instruments of a recording.

    Parameters
    ----------
    terms : RecordingTerms
    findings : Findings
    shown : set[str]
        Instruments whose books are in the recording; empty where there are trades alone.

    """

    def __init__(self, terms: RecordingTerms, findings: Findings, shown: set[str]) -> None:
        self._terms, self.findings, self._shown = terms, findings, shown
        self._feeds: dict[str, OkxFeed] = {}
        self._depths: dict[str, int] = {}  # of the file at hand
        self._told: set[str] = set()  # instruments of which it tells each trade
        self._pending: _Pending | None = None

    @property
    def has_book(self) -> bool:
        return any(feed.has_book for feed in self._feeds.values())

    def leaves(self, symbol: str) -> bool:
        """Whether trades of an instrument have no book to stand beside."""
        return bool(self._shown) and symbol not in self._shown

    def of(self, symbol: str, ts: int, path: Path) -> OkxFeed:
        feed = self._feeds.get(symbol)
        if feed is None:
            contract = self._terms.need("OKX", symbol, ts, path)
            feed = self._feeds[symbol] = OkxFeed(Grid(contract, self.findings.of(contract.id)))
        return feed

    def next_file(self, depths: dict[str, int], told: set[str]) -> None:
        self._depths, self._told = depths, told
        for feed in self._feeds.values():
            feed.sequence = 0

    def end_file(self, remark: str) -> Iterator[Event]:
        """End the change at hand; say what is to be said of the arrival times."""
        yield from self._end()
        for feed in self._feeds.values() if remark else ():
            self.findings.note(feed.id, "arrival", remark)

    def events(self, ts: int, message: Any, path: Path) -> Iterator[Event]:
        """What a message comes to, after what it shows to be at its end."""
        rows = messages(message)
        if not rows:
            self.findings.shared["control_message"] += 1
        for row in rows:
            feed, stamp = self.of(row.symbol, ts, path), (epoch_ns(int(row.row["ts"])), ts)
            if row.channel in TRADES:
                yield from self._trade(feed, row, stamp)
            elif self._is_shallower(row):
                feed.grid.counts["shallower_book"] += 1
            elif feed.takes(row):
                yield from self._book(feed, row, stamp)

    def _is_shallower(self, message: Message) -> bool:
        """Whether a message is of a book of fewer levels than another of its instrument in the file."""
        depth = DEPTHS[message.channel]
        deepest = self._depths[message.symbol] = max(depth, self._depths.get(message.symbol, 0))
        return depth < deepest

    def _end(self) -> Iterator[Event]:
        pending, self._pending = self._pending, None
        if pending is not None and pending.levels:
            yield BookUpdate(pending.feed.id, *pending.stamp, pending.levels)

    def _book(self, feed: OkxFeed, message: Message, stamp: tuple[int, int]) -> Iterator[Event]:
        bids, asks = message.row["bids"], message.row["asks"]
        pending = self._pending
        if message.action == "update" and pending is not None and (pending.feed, pending.stamp) == (feed, stamp):
            pending.levels.extend(feed.grid.levels(bids, asks))
            return
        yield from self._end()
        if message.action == "update":
            self._pending = _Pending(feed, stamp, feed.grid.levels(bids, asks))
        elif message.channel not in _ALL_SHOWN:
            yield BookUpdate(feed.id, *stamp, feed.grid.levels(bids, asks), snapshot=True)
        else:
            levels = feed.grid.shown(bids, asks)
            if levels is not None:
                yield BookUpdate(feed.id, *stamp, levels, snapshot=True, depth=DEPTHS[message.channel])

    def _trade(self, feed: OkxFeed, message: Message, stamp: tuple[int, int]) -> Iterator[Event]:
        yield from self._end()
        row = message.row
        if message.channel != EACH_TRADE and message.symbol in self._told:
            feed.grid.counts["aggregate_trade"] += 1
            return
        trade = feed.trades.trade(str(row["tradeId"]), stamp, row["px"], row["sz"], aggressor(row["side"]))
        if trade is not None:
            yield trade
