"""Recordings into the catalog: streaming, day by day, safe to stop and to run again."""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
from nautilus_trader.model import OrderBookDelta, TradeTick
from nautilus_trader.persistence import ParquetDataCatalog

from market.contracts import Contract
from market.errors import DataError
from market.events import BookUpdate, Event, Level, OrderLevel, OrderUpdate, Trade
from market.level_book import LevelBook, OrderBook
from market.nautilus import DeltaMaker, nautilus_instrument
from market.sessions import SessionClock
from venues.recordings.catalog import SCHEMA, Catalog, Day, Source, sha256
from venues.recordings.loaders import LOADERS, Recording

CHUNK = 200_000
"""Deltas or trades held in memory before they go to disk."""

type Progress = Callable[[str, int], None]


class Imported(msgspec.Struct, frozen=True):
    """What importing one recording came to."""

    recording: str
    days: list[Day]
    drops: dict[str, int]
    skipped: bool


def import_recording(catalog: Catalog, recording: Recording, progress: Progress, again: bool = False) -> Imported:
    """Import one recording; one that is there already from the same files is left as it is, unless `again`.

    Raises
    ------
    DataError
        The recording cannot be read; days it completed before stay, the one at hand is not kept.

    """
    sources = [Source(path.name, sha256(path)) for path in recording.files]
    known = [] if again else catalog.completed(sources)
    if known:
        return Imported(recording.name, known, _sum(day.drops for day in known), skipped=True)
    drops: Counter[str] = Counter()
    events = LOADERS[recording.format].events(recording, catalog.contracts, drops)
    return import_events(catalog, events, recording.name, recording.format, sources, drops, progress)


def import_events(
    catalog: Catalog,
    events: Iterable[Event],
    name: str,
    format_name: str,
    sources: list[Source],
    drops: Counter[str],
    progress: Progress,
) -> Imported:
    """Write a stream of events into the catalog (also the simulator's way in)."""
    staging = catalog.root / ".staging"
    shutil.rmtree(staging, ignore_errors=True)
    writers: dict[str, _InstrumentWriter] = {}
    days: list[Day] = []
    try:
        for count, event in enumerate(events):
            if count % 20_000 == 0:
                progress(name, count)
            writer = writers.get(event.symbol)
            if writer is None:
                writer = writers[event.symbol] = _InstrumentWriter(
                    catalog, event.symbol, staging, format_name, sources, drops
                )
            done = writer.add(event)
            if done is not None:
                days.append(done)
        days += [day for writer in writers.values() if (day := writer.close()) is not None]
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    if not days:
        reasons = ", ".join(f"{reason} {n}" for reason, n in drops.most_common(4)) or "no rows"
        raise DataError(f"{name}: nothing in it could be imported ({reasons})")
    catalog.complete(sources, days)
    return Imported(name, days, dict(drops), skipped=False)


class _InstrumentWriter:
    """Splits one instrument's events into trading days."""

    def __init__(
        self, catalog: Catalog, symbol: str, staging: Path, format_name: str, sources: list[Source], drops: Counter[str]
    ) -> None:
        self._catalog, self._symbol, self._staging = catalog, symbol, staging
        self._format, self._sources, self._drops = format_name, sources, drops
        self._seen: Counter[str] = Counter()
        self._contract: Contract | None = None
        self._clock: SessionClock | None = None
        self._book = LevelBook()
        self._orders: OrderBook | None = None
        self._pending: list[OrderLevel] = []
        self._day: _DayWriter | None = None

    def add(self, event: Event) -> Day | None:
        """Take one event; return the day it completed by starting the next, if it did."""
        if self._clock is None or self._contract is None:
            near = dt.datetime.fromtimestamp(event.ts_recv / 1e9, dt.UTC).date()
            self._contract = self._catalog.contracts.by_id(self._symbol, near)
            self._clock = SessionClock(self._contract.sessions)
        partial = isinstance(event, BookUpdate) and event.depth > 0
        if (partial or isinstance(event, Trade)) and not self._clock.is_open(event.ts_recv):
            self._drops["outside_session"] += 1
            return None
        stated = 0 if isinstance(event, OrderUpdate) else event.day
        date = _date(stated) if stated else self._clock.trading_day(event.ts_recv)
        finished = None
        if self._day is None or date > self._day.date:
            if isinstance(event, Trade) and (self._day is None or partial):
                self._drops["trade_before_book"] += 1
                return None
            finished = self.close()
            self._start(date, event.ts_recv, self._contract, keep_book=not partial)
        self._write(event)
        return finished

    def close(self) -> Day | None:
        """Finish and commit the day at hand."""
        if self._day is None:
            return None
        drops = self._drops - self._seen
        self._seen = self._drops.copy()
        day, self._day = self._day.finish(self._format, self._sources, drops), None
        return day

    def _start(self, date: dt.date, ts: int, contract: Contract, keep_book: bool) -> None:
        self._day = _DayWriter(self._catalog, contract, date, self._staging)
        if not keep_book:
            self._book.clear()
        rows = self._orders.rows() if self._orders is not None else [(*level, 0) for level in self._book.levels()]
        if rows:
            owners = [row[3] for row in rows] if self._orders is not None else ()
            self._day.book([row[:3] for row in rows], ts, ts, clear=True, owners=owners)

    def _write(self, event: Event) -> None:
        assert self._day is not None
        if isinstance(event, Trade):
            self._day.trade(event)
            return
        if isinstance(event, BookUpdate):
            self._day.depth = max(self._day.depth, event.depth)
            changes, owners = self._book.apply(event), []
        else:
            self._orders = self._orders or OrderBook()
            self._pending += self._orders.apply(event)
            if not event.last or not self._pending:
                return
            changes, owners = [row[:3] for row in self._pending], [row[3] for row in self._pending]
            self._pending = []
            for level in changes:
                self._book.set(*level)
            self._day.orders = True
        if changes:
            self._day.book(changes, event.ts_event, event.ts_recv, owners=owners)
            self._day.crossed += self._book.is_crossed()


class _DayWriter:
    """One trading day on its way to disk. Arrival times are made strictly increasing (by 1 ns), so
    that the order of trades and books survives the merge of two files."""

    def __init__(self, catalog: Catalog, contract: Contract, date: dt.date, staging: Path) -> None:
        self.date, self.depth, self.crossed, self.orders = date, 0, 0, False
        self._catalog, self._contract = catalog, contract
        self._folder = staging / contract.id / str(date)
        self._folder.mkdir(parents=True)
        self._parquet = ParquetDataCatalog(str(self._folder.absolute()))
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
        self._hash.update(struct.pack(f"<q{3 * len(changes)}q", ts, *(x for level in changes for x in level)))
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

    def finish(self, format_name: str, sources: list[Source], drops: Counter[str]) -> Day:
        self._flush()
        terms = self._contract.terms
        day = Day(
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
            drops=dict(sorted(drops.items())),
            sources=sources,
            tick=str(terms.tick),
            lot=str(terms.lot),
            sha256=self._hash.hexdigest(),
        )
        self._catalog.commit(day, self._folder, nautilus_instrument(self._contract, self.date))
        return day

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


def _date(yyyymmdd: int) -> dt.date:
    return dt.date(yyyymmdd // 10_000, yyyymmdd // 100 % 100, yyyymmdd % 100)


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)
