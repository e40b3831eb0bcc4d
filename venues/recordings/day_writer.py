"""One span of one trading day on its way to disk."""

from __future__ import annotations

import datetime as dt
import hashlib
import struct
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from nautilus_trader.model import OrderBookDelta, TradeTick
from nautilus_trader.persistence import ParquetDataCatalog

from market.contracts import Contract
from market.events import Level, Trade
from market.nautilus import DeltaMaker
from venues.recordings.catalog import SCHEMA, Day, Source

CHUNK = 200_000
"""Deltas or trades held in memory before they go to disk."""


class SpanWriter:
    """Writes a span into a staging folder. Arrival times are made strictly increasing (by 1 ns), so
    that the order of trades and books survives the merge of two files."""

    def __init__(self, contract: Contract, date: dt.date, folder: Path) -> None:
        self.date, self.depth, self.crossed, self.one_sided, self.orders = date, 0, 0, 0, False
        self.folder = folder
        folder.mkdir(parents=True)
        self._contract = contract
        self._parquet = ParquetDataCatalog(str(folder.absolute()))
        self._make = DeltaMaker(contract)
        self._deltas: list[OrderBookDelta] = []
        self._trades: list[TradeTick] = []
        self._first = self._last = 0
        self._sequence = self._updates = self._levels = self._prints = self._lots = 0
        self._hash = hashlib.sha256()

    def book(
        self,
        changes: Sequence[Level],
        ts_event: int,
        ts_recv: int,
        clear: bool = False,
        owners: Sequence[int] = (),
    ) -> None:
        ts = self._stamp(ts_recv)
        clear = clear or self._updates == 0
        self._updates += 1
        self._levels += len(changes)
        self._deltas += self._make.deltas(changes, self._sequence, ts_event, ts, clear, owners)
        self._hash.update(struct.pack(f"<q{3 * len(changes)}q", ts, *chain.from_iterable(changes)))
        if owners:
            self._hash.update(struct.pack(f"<{len(owners)}q", *owners))
        if len(self._deltas) >= CHUNK:
            self._flush()

    def trade(self, trade: Trade) -> None:
        ts = self._stamp(trade.ts_recv)
        self._prints += 1
        self._lots += trade.size
        self._trades.append(self._make.trade(trade, self._sequence, ts))
        self._hash.update(struct.pack("<4q", ts, trade.price, trade.size, trade.aggressor))
        if len(self._trades) >= CHUNK:
            self._flush()

    def finish(self, format_name: str, sources: list[Source], drops: dict[str, int], notes: list[str]) -> Day:
        """Write what is left; return the ledger entry of the span."""
        self._flush()
        terms = self._contract.terms
        return Day(
            schema=SCHEMA,
            instrument=self._contract.id,
            date=self.date,
            format=format_name,
            start_ns=self._first,
            end_ns=self._last,
            depth=self.depth,
            orders=self.orders,
            book_updates=self._updates,
            levels=self._levels,
            trades=self._prints,
            traded_lots=self._lots,
            crossed=self.crossed,
            one_sided=self.one_sided,
            drops=dict(sorted(drops.items())),
            notes=notes,
            sources=sources,
            tick=str(terms.tick),
            lot=str(terms.lot),
            sha256=self._hash.hexdigest(),
        )

    def _stamp(self, ts_recv: int) -> int:
        self._sequence += 1
        self._last = max(ts_recv, self._last + 1)
        self._first = self._first or self._last
        return self._last

    def _flush(self) -> None:
        if self._deltas:
            self._parquet.write_order_book_deltas(self._deltas)
        if self._trades:
            self._parquet.write_trade_ticks(self._trades)
        self._deltas, self._trades = [], []
