"""Coinbase (GDAX) captures as CSV: a book snapshot in two files, L2 updates and matches.

`side` of a match is the MAKER's side. The snapshot carries no time: it is the book before the
first update. `product_id` stands in the match file alone: a recording of several products is refused.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from market.errors import DataError
from market.events import ASK, BID, BUY, SELL, BookUpdate, Event, Level, Trade
from market.sessions import NS_PER_S
from venues.recordings.loaders.base import Recording, Rows, Traits, is_there
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.order import Seen, in_time
from venues.recordings.loaders.units import Grid
from venues.recordings.terms import RecordingTerms

_PARTS = ("snapshot_bids", "snapshot_asks", "l2update", "match")
_PRODUCT = re.compile(r"[A-Z0-9]{2,10}-[A-Z0-9]{2,10}")
_SIDES = {"buy": BID, "sell": ASK}
_AGGRESSORS = {"buy": SELL, "sell": BUY}
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
                if not is_there(file):
                    raise DataError(
                        f"{file}: missing; a Coinbase recording is snapshot_bids, snapshot_asks, l2update and match"
                    )
            recordings.append(Recording(self.name, files))
        return recordings

    def events(self, recording: Recording, terms: RecordingTerms, findings: Findings) -> Iterator[Event]:
        bids, asks, updates, matches = recording.files
        first = next((_ns(row) for path in (updates, matches) for row in Rows(path)), None)
        if first is None:
            return
        contract = terms.need("COINBASE", _product(matches), first, matches)
        grid = Grid(contract, findings.of(contract.id))
        levels = [*_levels(bids, BID, grid), *_levels(asks, ASK, grid)]
        trades = in_time(_trades(matches, grid), findings, matches.name)
        trade = next(trades, None)
        for update in in_time(_updates(updates, grid), findings, updates.name):
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


def _product(matches: Path) -> str:
    """The product of the matches; of a day without any that which the file's name holds."""
    product = ""
    for row in Rows(matches):
        here = row.text("product_id")
        if product and here != product:
            raise DataError(
                f"{row.where}: a match of {here} among those of {product}, and the book files do not say whose they "
                "are; split the recording by product"
            )
        product = here
    if product:
        return product
    named = _PRODUCT.search(matches.name)
    if named is None:
        raise DataError(f"{matches}: it holds no match and its name no product as BTC-USD: whose book is it?")
    return named.group()


def _levels(path: Path, side: int, grid: Grid) -> Iterator[Level]:
    for row in Rows(path):
        level = _level(row, side, grid)
        if level is not None:
            yield level


def _level(row: Rows, side: int, grid: Grid) -> Level | None:
    price, size = row.optional("price"), row.optional("size")
    if price is None or size is None:
        raise row.error("price" if price is None else "size", "a number")
    return grid.level(side, price, size)


def _side(row: Rows) -> str:
    side = row.text("side")
    if side not in _SIDES:
        raise row.error("side", "buy or sell")
    return side


def _updates(path: Path, grid: Grid) -> Iterator[BookUpdate]:
    """Updates of one time stamp are one atomic change."""
    name = grid.contract.id
    pending: list[Level] = []
    last = 0
    for row in Rows(path):
        ts = _ns(row)
        if ts != last and pending:
            yield BookUpdate(name, last, last, pending)
            pending = []
        last = ts
        level = _level(row, _SIDES[_side(row)], grid)
        if level is not None:
            pending.append(level)
    if pending:
        yield BookUpdate(name, last, last, pending)


def _trades(path: Path, grid: Grid) -> Iterator[Trade]:
    seen = Seen()
    for row in Rows(path):
        if "type" in row.columns and row.text("type") != "match":
            grid.counts["control_message"] += 1  # last_match: what traded before the subscription
            continue
        if "trade_id" in row.columns and row.text("trade_id") and seen.again(row.text("trade_id")):
            grid.counts["duplicate_trade"] += 1
            continue
        level = _level(row, BID, grid)
        if level is not None and level[2]:
            ts = _ns(row)
            yield Trade(grid.contract.id, ts, ts, level[1], level[2], _AGGRESSORS[_side(row)])


def _ns(row: Rows) -> int:
    try:
        delta = dt.datetime.fromisoformat(row.text("time").strip()) - _EPOCH
    except (ValueError, TypeError) as error:
        raise row.error("time", "an ISO 8601 time with a zone") from error
    return (delta.days * 86_400 + delta.seconds) * NS_PER_S + delta.microseconds * 1_000


def _part(path: Path) -> str:
    for part in _PARTS:
        if part in path.name:
            return part
    raise DataError(f"{path}: a Coinbase file's name holds one of {', '.join(_PARTS)}")
