"""One symbol of a Binance capture: its book kept in sequence, its trades counted once.

Diffs received before the snapshot are buffered and replayed after it; a snapshot older than the
book gets the diffs applied again that are newer than it. USD-M and COIN-M diffs chain by `pu`,
spot diffs by `U = last u + 1`. Best quotes come sooner than diffs; a quote newer than the last
diff overrides the touch, and goes on doing so until a diff has caught up with it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from market.contracts import Contract
from market.events import ASK, BID, BUY, SELL, BookUpdate, Event, Level, Trade
from market.level_book import LevelBook
from venues.recordings.loaders.order import Seen
from venues.recordings.loaders.units import Grid, epoch_ns

_KEPT_DIFFS = 2_000
"""Diffs kept to be applied again to an older snapshot: minutes of the fastest stream."""
_MAX_AGGREGATE = 100_000


type Shown = Literal["book", "quotes", "trades"]
"""What a capture tells of: diffs of the book, the best quotes or levels, or trades alone."""
PARTIAL = {"depth5": 5, "depth10": 10, "depth20": 20}
"""Streams that show the best levels anew with each message."""


class _Diff(NamedTuple):
    first: int
    previous: int
    last: int
    levels: list[Level]


class BinanceStream:
    """Turns one symbol's messages into events; `shown` says whether they tell of a book, or of less."""

    def __init__(self, contract: Contract, counts: Counter[str], shown: Shown = "book") -> None:
        self._shown = shown
        self.id = contract.id
        self._grid = Grid(contract, counts)
        self._counts = counts
        self._book = LevelBook()
        self._last_id: int | None = None  # last update id that the book holds
        self._waiting: list[dict[str, Any]] = []
        self._kept: deque[_Diff] = deque(maxlen=_KEPT_DIFFS)
        self._quote: dict[str, Any] | None = None
        self._chained = False
        self._sound = False  # no gap since the last snapshot
        self._trades = Seen()
        self._event_ts = 0

    @property
    def has_book(self) -> bool:
        return self._last_id is not None or self._shown == "trades"

    def events(self, ts: int, kind: str, data: Any) -> Sequence[Event]:
        """What a message comes to."""
        if kind == "bookTicker":
            return self._best_quote(ts, data)
        if kind == "depth":
            return self._diff(ts, data)
        if kind in ("trade", "aggTrade"):
            return self._trade(ts, data)
        if kind == "snapshot":
            return self._snapshot(ts, data)
        if kind in PARTIAL and self._shown == "quotes":
            return self._partial(ts, data, PARTIAL[kind])
        self._counts[f"stream_{kind}"] += 1
        return ()

    def finish(self) -> None:
        """Count what waited for a snapshot that never came."""
        if self._last_id is None:
            self._counts["diff_before_snapshot"] += len(self._waiting)

    def _snapshot(self, ts: int, data: dict[str, Any]) -> Sequence[Event]:
        levels, snapshot_id = self._grid.levels(data["bids"], data["asks"]), int(data["lastUpdateId"])
        stamp = int(data.get("T") or data.get("E") or 0)
        event_ts = epoch_ns(stamp) if stamp else ts
        if self._last_id is not None and snapshot_id < self._last_id:
            return self._older_snapshot(ts, snapshot_id, levels)
        self._last_id, self._chained, self._sound = snapshot_id, False, True
        self._book.clear()
        update = BookUpdate(self.id, event_ts, ts, levels, snapshot=True)
        self._book.apply(update)
        waiting, self._waiting = self._waiting, []
        return [update, *(event for diff in waiting for event in self._diff(ts, diff))]

    def _older_snapshot(self, ts: int, snapshot_id: int, levels: list[Level]) -> Sequence[Event]:
        """The snapshot with the diffs that are newer than it, as one change; the book where it is sound and
        more is missing between them than was kept."""
        newer = [diff for diff in self._kept if diff.last > snapshot_id]
        last, whole = snapshot_id, bool(newer)
        for place, diff in enumerate(newer):
            whole &= diff.previous == last or (place == 0 and (diff.first <= last + 1 or diff.previous <= last))
            last = diff.last
        if not whole:
            if self._sound:
                self._counts["snapshot_older_than_book"] += 1
                return ()
            self._counts["sequence_gap"] += 1
        self._book.clear()
        self._book.take(levels)
        for diff in newer:
            self._book.take(diff.levels)
        self._sound = whole
        if self._quote is not None and self._last_id is not None and int(self._quote["u"]) > self._last_id:
            self._touch(self._quote)
        return (BookUpdate(self.id, self._event_ts, ts, list(self._book.levels()), snapshot=True),)

    def _diff(self, ts: int, data: dict[str, Any]) -> Sequence[Event]:
        if self._last_id is None:
            self._waiting.append(data)
            return ()
        first, last = int(data["U"]), int(data["u"])
        if last <= self._last_id:
            self._counts["diff_older_than_snapshot"] += 1
            return ()
        previous = int(data["pu"]) if "pu" in data else first - 1
        if not self._follows(first, previous):
            self._counts["sequence_gap"] += 1  # kept: a diff holds sizes, not changes; but it is counted
            self._sound = False
        self._last_id, self._chained = last, True
        levels = self._grid.levels(data["b"], data["a"])
        self._kept.append(_Diff(first, previous, last, levels))
        self._book.take(levels)
        if self._quote is not None and int(self._quote["u"]) > last:
            levels = levels + self._touch(self._quote)
        self._event_ts = epoch_ns(int(data.get("T", data["E"])))
        return (BookUpdate(self.id, self._event_ts, ts, levels),) if levels else ()

    def _follows(self, first: int, previous: int) -> bool:
        assert self._last_id is not None
        if not self._chained:  # the first diff after a snapshot only has to reach back to it
            return first <= self._last_id + 1 or previous <= self._last_id
        return previous == self._last_id

    def _best_quote(self, ts: int, data: dict[str, Any]) -> Sequence[Event]:
        if self._last_id is None and self._shown == "book":
            self._counts["quote_before_snapshot"] += 1
            return ()
        if self._last_id is not None and int(data["u"]) <= self._last_id:
            self._counts["quote_older_than_book"] += 1
            return ()
        if self._shown == "quotes":
            return self._quote_alone(ts, data)
        self._quote = data
        levels = self._touch(data)
        if not levels:
            return ()
        event_ts = epoch_ns(int(data["T"])) if "T" in data else ts
        return (BookUpdate(self.id, event_ts, ts, levels),)

    def _quote_alone(self, ts: int, data: dict[str, Any]) -> Sequence[Event]:
        """A best quote where nothing else shows the book."""
        levels = self._grid.snapshot([(BID, data["b"], data["B"]), (ASK, data["a"], data["A"])])
        self._last_id = int(data["u"])
        if levels is None:
            return ()
        event_ts = epoch_ns(int(data["T"])) if "T" in data else ts
        return (BookUpdate(self.id, event_ts, ts, levels, snapshot=True, depth=1),)

    def _partial(self, ts: int, data: dict[str, Any], depth: int) -> Sequence[Event]:
        """The best levels where nothing else shows the book; spot and futures name their fields apart."""
        bids, asks, update_id = ("bids", "asks", "lastUpdateId") if "bids" in data else ("b", "a", "u")
        last_id = int(data[update_id])
        if self._last_id is not None and last_id < self._last_id:
            self._counts["quote_older_than_book"] += 1
            return ()
        self._last_id = last_id
        levels = self._grid.shown(data[bids], data[asks])
        if levels is None:
            return ()
        event_ts = epoch_ns(int(data["T"])) if "T" in data else ts
        return (BookUpdate(self.id, event_ts, ts, levels, snapshot=True, depth=depth),)

    def _touch(self, quote: dict[str, Any]) -> list[Level]:
        """Level changes that make the quote the touch; prices better than it are gone."""
        bid = self._grid.level(BID, quote["b"], quote["B"])
        ask = self._grid.level(ASK, quote["a"], quote["A"])
        changes: list[Level] = []
        if bid is not None:
            changes += [(BID, p, 0) for p in self._book.bids.above(bid[1])]
        if ask is not None:
            changes += [(ASK, p, 0) for p in self._book.asks.below(ask[1])]
        if bid is not None and self._book.bids.get(bid[1]) != bid[2]:
            changes.append(bid)
        if ask is not None and self._book.asks.get(ask[1]) != ask[2]:
            changes.append(ask)
        self._book.take(changes)
        return changes

    def _trade(self, ts: int, data: dict[str, Any]) -> Sequence[Event]:
        if self._last_id is None and self._shown == "book":
            self._counts["trade_before_snapshot"] += 1
            return ()
        if data.get("X", "MARKET") != "MARKET":
            self._counts["trade_not_on_book"] += 1  # insurance fund and liquidation transfers
            return ()
        if self._again(data):
            self._counts["duplicate_trade"] += 1
            return ()
        price, size = self._grid.ticks(data["p"]), self._grid.lots(data["q"])
        if price is None:
            return ()
        if size == 0:
            self._counts["empty_trade"] += 1
            return ()
        aggressor = SELL if data["m"] else BUY  # m: the buyer was the maker
        event_ts = epoch_ns(int(data.get("T", data["E"])))
        return (Trade(self.id, event_ts, ts, price, size, aggressor),)

    def _again(self, data: dict[str, Any]) -> bool:
        """A trade told before, in the same stream or in the other: `aggTrade` names the trades it sums up."""
        if "t" in data:
            return self._trades.again(int(data["t"]))
        if "f" not in data or "l" not in data:
            return False
        first, last = int(data["f"]), int(data["l"])
        if not 0 <= last - first < _MAX_AGGREGATE:
            raise ValueError(f"an aggregate of the trades {first} to {last}")
        seen = [self._trades.again(trade) for trade in range(first, last + 1)]
        return any(seen)
