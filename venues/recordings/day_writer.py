"""One span of one trading day on its way to disk."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from pathlib import Path

from market.contracts import Contract
from market.events import Level, Trade
from venues.recordings.catalog import SCHEMA, Day, Source
from venues.recordings.column_files import Batch, ColumnWriter
from venues.recordings.nautilus_files import NautilusFiles

CHUNK = 200_000
"""Level changes or trades held in memory before they go to disk."""


class SpanWriter:
    """Writes a span into a staging folder, as columns and as Nautilus' files. Arrival times are made strictly
    increasing (by 1 ns), so that the order of trades and books survives the merge of two files."""

    def __init__(self, contract: Contract, date: dt.date, folder: Path) -> None:
        self.date, self.depth, self.crossed, self.one_sided, self.orders = date, 0, 0, 0, False
        self.folder = folder
        folder.mkdir(parents=True)
        self._contract = contract
        self._nautilus = NautilusFiles(contract, folder)
        self._columns = ColumnWriter(folder / "columns")
        self._batch = Batch()
        self._first = self._last = 0
        self._written = self._sequence = self._updates = self._levels = self._prints = self._lots = 0
        self._hash = hashlib.sha256()

    def book(
        self,
        changes: Sequence[Level],
        ts_event: int,
        ts_recv: int,
        clear: bool = False,
        owners: Sequence[int] = (),
    ) -> None:
        clear = clear or self._updates == 0
        self._updates += 1
        self._levels += len(changes)
        self._batch.book(changes, ts_event, self._stamp(ts_recv), clear, owners)
        if self._batch.rows + self._batch.clears >= CHUNK:
            self._flush()

    def trade(self, trade: Trade) -> None:
        self._prints += 1
        self._lots += trade.size
        self._batch.trade(trade.price, trade.size, trade.aggressor, trade.ts_event, self._stamp(trade.ts_recv))
        if self._batch.prints >= CHUNK:
            self._flush()

    def finish(self, format_name: str, sources: list[Source], drops: dict[str, int], notes: list[str]) -> Day:
        """Write what is left; return the ledger entry of the span."""
        self._flush()
        self._columns.finish(self.depth, self.orders)
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
        if self._sequence == self._written:
            return
        batch, self._batch = self._batch, Batch()
        self._hash.update(batch.words)
        told = batch.columns(self._written + 1)
        self._columns.append(told)
        self._nautilus.write(told)
        self._written = self._sequence
