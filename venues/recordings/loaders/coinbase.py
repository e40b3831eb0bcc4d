"""Coinbase (GDAX) captures as CSV: a book snapshot in two files, L2 updates and matches.

`side` of a match is the MAKER's side. The snapshot carries no time: it is the book before the
first update.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from market.contracts import Contract, ContractTable
from market.errors import DataError
from market.events import ASK, BID, BUY, SELL, BookUpdate, Event, Level, Trade
from market.sessions import NS_PER_S
from venues.recordings.loaders.base import ArrivalOrder, Recording, Rows, Traits

_PARTS = ("snapshot_bids", "snapshot_asks", "l2update", "match")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class CoinbaseLoader:
    """Four files `<prefix>snapshot_bids`, `…_asks`, `…l2update`, `…match` are one recording."""

    name = "coinbase"
    traits = Traits()

    def recognises(self, path: Path, head: str) -> bool:
        header = head.split("\n", 1)[0].strip()
        return header in ("side,price,size", "side,price,size,time") or (
            "maker_order_id" in header and "product_id" in header
        )

    def group(self, paths: Sequence[Path]) -> list[Recording]:
        """Missing parts are looked for beside those given."""
        groups: dict[tuple[Path, str, str], None] = {}
        for path in paths:
            part = _part(path)
            prefix, _, suffix = path.name.partition(part)
            groups[(path.parent, prefix, suffix)] = None
        recordings = []
        for folder, prefix, suffix in groups:
            files = tuple(folder / f"{prefix}{part}{suffix}" for part in _PARTS)
            for file in files:
                if not file.exists():
                    raise DataError(
                        f"{file}: missing; a Coinbase recording is snapshot_bids, snapshot_asks, l2update and match"
                    )
            recordings.append(Recording(self.name, files))
        return recordings

    def events(self, recording: Recording, contracts: ContractTable, drops: Counter[str]) -> Iterator[Event]:
        bids, asks, updates, matches = recording.files
        contract = _contract(matches, contracts)
        levels = [*_levels(bids, BID, contract, drops), *_levels(asks, ASK, contract, drops)]
        trades = _trades(matches, contract, drops)
        trade = next(trades, None)
        for update in _updates(updates, contract, drops):
            if levels:
                yield BookUpdate(contract.id, update.ts_event, update.ts_recv, levels, snapshot=True)
                levels = []
            while trade is not None and trade.ts_recv <= update.ts_recv:
                yield trade
                trade = next(trades, None)
            yield update
        while trade is not None:
            yield trade
            trade = next(trades, None)


def _contract(matches: Path, contracts: ContractTable) -> Contract:
    product = "BTC-USD"
    for row in Rows(matches):
        product = row.text("product_id")
        break
    contract = contracts.find("COINBASE", product)
    if contract is None:
        raise DataError(f"{matches}: no contract terms for {product} on COINBASE; add a row for it")
    return contract


def _levels(path: Path, side: int, contract: Contract, drops: Counter[str]) -> Iterator[Level]:
    for row in Rows(path):
        level = _level(row, side, contract, drops)
        if level is not None:
            yield level


def _level(row: Rows, side: int, contract: Contract, drops: Counter[str]) -> Level | None:
    ticks, lots = contract.ticks(row.number("price")), contract.lots(row.number("size"))
    if ticks is None or lots is None:
        drops["off_tick"] += 1
        return None
    return side, ticks, lots


def _updates(path: Path, contract: Contract, drops: Counter[str]) -> Iterator[BookUpdate]:
    """Updates of one time stamp are one atomic change."""
    order = ArrivalOrder()
    pending: list[Level] = []
    last = 0
    for row in Rows(path):
        ts = _ns(row)
        if not order.admits(ts, f"{path}, line {row.line}"):
            drops["out_of_order"] += 1
            continue
        if ts != last and pending:
            yield BookUpdate(contract.id, last, last, pending)
            pending = []
        last = ts
        level = _level(row, BID if row.text("side") == "buy" else ASK, contract, drops)
        if level is not None:
            pending.append(level)
    if pending:
        yield BookUpdate(contract.id, last, last, pending)


def _trades(path: Path, contract: Contract, drops: Counter[str]) -> Iterator[Trade]:
    for row in Rows(path):
        level = _level(row, BID, contract, drops)
        if level is not None:
            ts = _ns(row)
            aggressor = SELL if row.text("side") == "buy" else BUY
            yield Trade(contract.id, ts, ts, level[1], level[2], aggressor)


def _ns(row: Rows) -> int:
    try:
        delta = dt.datetime.fromisoformat(row.text("time")) - _EPOCH
    except (ValueError, TypeError) as error:
        raise row.error("time", "an ISO 8601 time with a zone") from error
    return (delta.days * 86_400 + delta.seconds) * NS_PER_S + delta.microseconds * 1_000


def _part(path: Path) -> str:
    for part in _PARTS:
        if part in path.name:
            return part
    raise DataError(f"{path}: a Coinbase file's name holds one of {', '.join(_PARTS)}")
