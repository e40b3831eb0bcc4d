"""Tardis CSV: `incremental_book_L2`, `book_snapshot_N` and `trades` (times in microseconds).

A book file and a `trades` file of the same symbol, given together, are one recording.
"""

from __future__ import annotations

import datetime as dt
import heapq
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from market.contracts import Contract, ContractTable
from market.errors import DataError
from market.events import ASK, BID, BUY, NO_AGGRESSOR, SELL, BookUpdate, Event, Level, Trade
from venues.recordings.loaders.base import ArrivalOrder, Recording, Rows, Traits, head

_EXCHANGES = {
    "binance-futures": ("BINANCE", "-PERP"),
    "binance": ("BINANCE", ""),
    "coinbase": ("COINBASE", ""),
    "bitstamp": ("BITSTAMP", ""),
}
_SNAPSHOT = re.compile(r"(asks|bids)\[(\d+)\]\.price")
_US = 1_000


class TardisLoader:
    """Any mix of the three data types; incremental books win over snapshots of the same symbol."""

    name = "tardis"
    traits = Traits()

    def recognises(self, path: Path, head: str) -> bool:
        return _kind(head.split("\n", 1)[0]) is not None

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        groups: dict[tuple[str, str], dict[str, list[Path]]] = {}
        for path in sorted(paths):
            header, _, rest = head(path).partition("\n")
            first = rest.partition("\n")[0].split(",")
            key = (first[0], first[1]) if len(first) > 1 else (path.name, "")
            groups.setdefault(key, {}).setdefault(_kind(header) or "", []).append(path)
        recordings = []
        for kinds in groups.values():
            books = kinds.get("incremental") or kinds.get("snapshot")
            trades = kinds.get("trades", [])
            if not books:
                raise DataError(f"{trades[0]}: trades without a book; give the book file of this symbol too")
            recordings.append(Recording(self.name, (*books, *trades)))
        return recordings

    def events(self, recording: Recording, contracts: ContractTable, drops: Counter[str]) -> Iterator[Event]:
        kinds: dict[str, list[Path]] = {}
        for path in recording.files:
            kinds.setdefault(_kind(head(path).partition("\n")[0]) or "", []).append(path)
        streams: list[Iterator[Event]] = []
        for kind, read in (("trades", _trades), ("incremental", _incremental), ("snapshot", _snapshots)):
            if kind in kinds:
                streams.append(read(kinds[kind], contracts, drops))
        return heapq.merge(*streams, key=lambda event: event.ts_recv)  # a trade before the book at one time


def _kind(header: str) -> str | None:
    if not header.startswith("exchange,symbol,timestamp,local_timestamp"):
        return None
    if "is_snapshot" in header:
        return "incremental"
    if "asks[0].price" in header:
        return "snapshot"
    return "trades" if header.strip().endswith("id,side,price,amount") else None


class _Reader:
    """Rows in order of arrival with their contract."""

    def __init__(self, paths: list[Path], contracts: ContractTable, drops: Counter[str]) -> None:
        self._paths, self._contracts, self._drops = paths, contracts, drops

    def __iter__(self) -> Iterator[tuple[Rows, Contract, int, int]]:
        order, contract = ArrivalOrder(), None
        for path in self._paths:
            for row in Rows(path):
                ts = row.integer("local_timestamp") * _US
                if contract is None:
                    contract = _find(row, ts, self._contracts)
                if order.admits(ts, f"{path}, line {row.line}"):
                    yield row, contract, row.integer("timestamp") * _US, ts
                else:
                    self._drops["out_of_order"] += 1


def _find(row: Rows, ts: int, contracts: ContractTable) -> Contract:
    exchange, suffix = _EXCHANGES.get(row.text("exchange"), (row.text("exchange").upper(), ""))
    symbol = row.text("symbol") + suffix
    contract = contracts.find(exchange, symbol, dt.datetime.fromtimestamp(ts / 1e9, dt.UTC).date())
    if contract is None:
        raise DataError(f"{row.path}: no contract terms for {symbol} on {exchange}; add a row for it")
    return contract


def _level(row: Rows, contract: Contract, side: int, price: str, amount: str) -> Level:
    ticks, lots = contract.ticks(row.number(price)), contract.lots(row.number(amount))
    if ticks is None:
        raise row.error(price, f"a multiple of the tick {contract.tick}")
    if lots is None:
        raise row.error(amount, f"a multiple of the lot {contract.lot}")
    return side, ticks, lots


def _snapshots(paths: list[Path], contracts: ContractTable, drops: Counter[str]) -> Iterator[Event]:
    names: list[tuple[int, str, str]] = []
    for row, contract, ts_event, ts in _Reader(paths, contracts, drops):
        if not names:
            names = [
                (ASK if m.group(1) == "asks" else BID, column, column.replace(".price", ".amount"))
                for column in row.columns
                if (m := _SNAPSHOT.fullmatch(column))
            ]
        levels = [_level(row, contract, *name) for name in names if row.text(name[1])]
        yield BookUpdate(contract.id, ts_event, ts, [x for x in levels if x[2]], snapshot=True, depth=len(names) // 2)


def _incremental(paths: list[Path], contracts: ContractTable, drops: Counter[str]) -> Iterator[Event]:
    """Rows of one local timestamp are one message; a run of snapshot rows replaces the book."""
    levels: list[Level] = []
    current = (0, 0, False)
    seen_snapshot = False
    contract_id = ""
    for row, contract, ts_event, ts in _Reader(paths, contracts, drops):
        is_snapshot = row.text("is_snapshot").lower() == "true"
        if (ts, is_snapshot) != (current[1], current[2]) and levels:
            yield BookUpdate(contract_id, current[0], current[1], levels, snapshot=current[2])
            levels = []
        seen_snapshot |= is_snapshot
        if not seen_snapshot:
            drops["diff_before_snapshot"] += 1
            continue
        current, contract_id = (ts_event, ts, is_snapshot), contract.id
        levels.append(_level(row, contract, BID if row.text("side") == "bid" else ASK, "price", "amount"))
    if levels:
        yield BookUpdate(contract_id, current[0], current[1], levels, snapshot=current[2])


def _trades(paths: list[Path], contracts: ContractTable, drops: Counter[str]) -> Iterator[Event]:
    sides = {"buy": BUY, "sell": SELL}
    for row, contract, ts_event, ts in _Reader(paths, contracts, drops):
        _, price, size = _level(row, contract, BID, "price", "amount")
        yield Trade(contract.id, ts_event, ts, price, size, sides.get(row.text("side"), NO_AGGRESSOR))
