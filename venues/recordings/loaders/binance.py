"""Binance raw socket captures, spot and USD-M: `<receive time, ns> <json>` a line.

Streams: `@depth` diffs, `@trade`, `@bookTicker`, and the REST depth snapshot as a bare object.
Diffs received before the snapshot are buffered and replayed after it. USD-M diffs chain by `pu`,
spot diffs by `U = last u + 1`. Best quotes come sooner than diffs; a quote newer than the last
diff overrides the touch, and goes on doing so until a diff has caught up with it.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from market.contracts import Contract, ContractTable
from market.errors import DataError
from market.events import ASK, BID, BUY, SELL, BookUpdate, Event, Level, Trade
from market.level_book import LevelBook
from venues.recordings.loaders.base import ArrivalOrder, Recording, Traits, lines

_LINE = re.compile(r"\d{19} \{")
_STREAM = re.compile(r'"stream":"([a-z0-9]+)@(\w+)')
_MS = 1_000_000


class BinanceLoader:
    """Captures of one symbol join into one recording, in order of time."""

    name = "binance"
    traits = Traits(books_first=True)

    def recognises(self, path: Path, head: str) -> bool:
        return _LINE.match(head) is not None

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        groups: dict[tuple[str, bool], list[tuple[int, Path]]] = {}
        for path in paths:
            symbol, futures, first = _identify(path)
            groups.setdefault((symbol, futures), []).append((first, path))
        return [Recording(self.name, tuple(p for _, p in sorted(files))) for files in groups.values()]

    def events(self, recording: Recording, contracts: ContractTable, drops: Counter[str]) -> Iterator[Event]:
        symbol, futures, first = _identify(recording.files[0])
        name = f"{symbol.upper()}-PERP" if futures else symbol.upper()
        contract = contracts.find("BINANCE", name, dt.datetime.fromtimestamp(first / 1e9, dt.UTC).date())
        if contract is None:
            raise DataError(f"{recording.files[0]}: no contract terms for {name} on BINANCE; add a row for it")
        stream = _Stream(contract, futures, drops)
        order = ArrivalOrder()
        for path in recording.files:
            for number, line in lines(path):
                where = f"{path}, line {number}"
                ts, message = _parse(line, where)
                if order.admits(ts, where):
                    yield from stream.events(ts, message, where)
                else:
                    drops["out_of_order"] += 1
        stream.finish(recording)


class _Stream:
    """Keeps one symbol's book in sequence."""

    def __init__(self, contract: Contract, futures: bool, drops: Counter[str]) -> None:
        self._contract = contract
        self._futures = futures
        self._drops = drops
        self._book = LevelBook()
        self._last_id: int | None = None  # last update id that the book holds
        self._waiting: list[dict[str, Any]] = []
        self._quote: dict[str, Any] | None = None
        self._chained = False

    def events(self, ts: int, message: dict[str, Any], where: str) -> Iterator[Event]:
        try:
            if "lastUpdateId" in message:
                yield from self._snapshot(ts, message)
                return
            data, kind = message["data"], message["stream"].partition("@")[2].partition("@")[0]
            if kind == "depth":
                yield from self._diff(ts, data)
            elif kind == "bookTicker":
                yield from self._best_quote(ts, data)
            elif kind in ("trade", "aggTrade"):
                yield from self._trade(ts, data)
            else:
                self._drops[f"stream_{kind}"] += 1
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{where}: a message of unexpected shape ({error!r})") from error

    def finish(self, recording: Recording) -> None:
        """Raise when the recording never brought a snapshot: there is no book to tell of."""
        if self._last_id is None:
            raise DataError(
                f"{recording.files[0]}: the capture has no book snapshot and no earlier capture to follow; "
                "import it together with the capture before it"
            )

    def _snapshot(self, ts: int, data: dict[str, Any]) -> Iterator[Event]:
        levels = self._levels(data["bids"], data["asks"])
        self._last_id, self._chained = int(data["lastUpdateId"]), False
        self._book.clear()
        event_ts = int(data.get("T", data.get("E", 0))) * _MS or ts
        update = BookUpdate(self._contract.id, event_ts, ts, levels, snapshot=True)
        self._book.apply(update)
        yield update
        waiting, self._waiting = self._waiting, []
        for diff in waiting:
            yield from self._diff(ts, diff)

    def _diff(self, ts: int, data: dict[str, Any]) -> Iterator[Event]:
        if self._last_id is None:
            self._waiting.append(data)
            return
        first, last = int(data["U"]), int(data["u"])
        if last <= self._last_id:
            self._drops["diff_older_than_snapshot"] += 1
            return
        if not self._follows(first, int(data["pu"]) if self._futures else first - 1):
            self._drops["sequence_gap"] += 1  # kept: a diff holds sizes, not changes; but it is counted
        self._last_id, self._chained = last, True
        levels = self._levels(data["b"], data["a"])
        for level in levels:
            self._book.set(*level)
        if self._quote is not None and int(self._quote["u"]) > last:
            levels += self._touch(self._quote)
        if levels:
            event_ts = int(data.get("T", data["E"])) * _MS
            yield BookUpdate(self._contract.id, event_ts, ts, levels)

    def _follows(self, first: int, previous: int) -> bool:
        assert self._last_id is not None
        if not self._chained:  # the first diff after a snapshot only has to reach back to it
            return first <= self._last_id + 1 or previous <= self._last_id
        return previous == self._last_id

    def _best_quote(self, ts: int, data: dict[str, Any]) -> Iterator[Event]:
        if self._last_id is None:
            self._drops["quote_before_snapshot"] += 1
            return
        if int(data["u"]) <= self._last_id:
            self._drops["quote_older_than_book"] += 1
            return
        self._quote = data
        levels = self._touch(data)
        if levels:
            event_ts = int(data["T"]) * _MS if "T" in data else ts
            yield BookUpdate(self._contract.id, event_ts, ts, levels)

    def _touch(self, quote: dict[str, Any]) -> list[Level]:
        """Level changes that make the quote the touch; prices better than it are gone."""
        (bid, ask) = self._levels([(quote["b"], quote["B"])], [(quote["a"], quote["A"])])
        changes: list[Level] = [(BID, p, 0) for p in self._book.bids.irange(bid[1], inclusive=(False, True))]
        changes += [(ASK, p, 0) for p in self._book.asks.irange(None, ask[1], inclusive=(True, False))]
        changes += [
            level for level, side in ((bid, self._book.bids), (ask, self._book.asks)) if side.get(level[1]) != level[2]
        ]
        for level in changes:
            self._book.set(*level)
        return changes

    def _trade(self, ts: int, data: dict[str, Any]) -> Iterator[Event]:
        if self._last_id is None:
            self._drops["trade_before_snapshot"] += 1
            return
        if data.get("X", "MARKET") != "MARKET":
            self._drops["trade_not_on_book"] += 1  # insurance fund and liquidation transfers
            return
        ((_, price, size),) = self._levels([(data["p"], data["q"])], [])
        if size == 0:
            self._drops["empty_trade"] += 1
            return
        aggressor = SELL if data["m"] else BUY  # m: the buyer was the maker
        event_ts = int(data.get("T", data["E"])) * _MS
        yield Trade(self._contract.id, event_ts, ts, price, size, aggressor)

    def _levels(self, bids: Sequence[Sequence[str]], asks: Sequence[Sequence[str]]) -> list[Level]:
        levels: list[Level] = []
        for side, rows in ((BID, bids), (ASK, asks)):
            for price, size in rows:
                ticks, lots = self._contract.ticks(float(price)), self._contract.lots(float(size))
                if ticks is None:
                    raise DataError(
                        f"{self._contract.id}: price {price} is no multiple of the tick "
                        f"{self._contract.tick}; check the contract table"
                    )
                if lots is None:  # orders from before the lot was made coarser
                    self._drops["size_rounded_to_lot"] += 1
                    lots = max(1, int(float(size) / self._contract.lot))
                levels.append((side, ticks, lots))
        return levels


def _parse(line: str, where: str) -> tuple[int, dict[str, Any]]:
    stamp, _, text = line.partition(" ")
    try:
        message = msgspec.json.decode(text)
        return int(stamp), message
    except (ValueError, msgspec.DecodeError) as error:
        raise DataError(f"{where}: not `<nanoseconds> <json>` ({error})") from error


def _identify(path: Path) -> tuple[str, bool, int]:
    """Symbol, whether it is a USD-M future, first receive time: from the first few lines."""
    first = 0
    for number, line in lines(path):
        ts, _ = _parse(line, f"{path}, line {number}")
        first = first or ts
        match = _STREAM.search(line)
        if match and match.group(2) == "depth":
            return match.group(1), '"pu":' in line, first
    raise DataError(f"{path}: the capture has no depth stream")
