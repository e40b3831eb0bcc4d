"""Recordings into the catalog: streaming, day by day, safe to stop and to run again."""

from __future__ import annotations

import datetime as dt
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice

import msgspec

from market.contracts import Contract
from market.errors import DataError, EmptyFileError
from market.events import BookUpdate, Event, Level, OrderLevel, OrderUpdate, Trade
from market.level_book import LevelBook, OrderBook
from market.nautilus import nautilus_instrument
from market.sessions import SessionClock
from venues.recordings.catalog import Catalog, Day, Source
from venues.recordings.day_writer import SpanWriter
from venues.recordings.loaders import LOADERS, Recording, traits
from venues.recordings.loaders.base import digest
from venues.recordings.loaders.findings import Findings, sum_counts
from venues.recordings.overlap import Overlap
from venues.recordings.terms import RecordingTerms, as_date

_JUST_BEFORE_NS = 1_000

type Progress = Callable[[str, int], None]


class Imported(msgspec.Struct, frozen=True):
    """What importing one recording came to: the days it is part of, and what was left out of it."""

    recording: str
    days: list[Day]
    drops: dict[str, int]
    skipped: bool


def import_recording(
    catalog: Catalog, recording: Recording, progress: Progress, again: bool = False, first: int | None = None
) -> Imported:
    """Import one recording; one that is there already from the same files is left as it is, unless `again`.

    A day that the catalog has from other files is added to; where both tell of the same time they must agree,
    or `again` replaces what was there. `first` reads so many events and no more: for a look at them.

    Raises
    ------
    DataError
        The recording cannot be read; days it completed before stay, the one at hand is not kept.

    """
    sources = [Source(path.name, digest(path) if first is None else "") for path in recording.files]
    sources += [Source(f"--instruments {name}", "") for name in recording.chosen]
    known = [] if again else catalog.completed(sources)
    if known:
        return Imported(recording.name, known, sum_counts(day.drops for day in known), skipped=True)
    findings, terms = Findings(), RecordingTerms(catalog.contracts)
    events = LOADERS[recording.format].events(recording, terms, findings)
    run = _Run(
        catalog, terms, findings, recording.format, sources, recording.name, again, trades_alone=recording.trades_alone
    )
    return run.write(islice(events, first), progress)


def import_events(
    catalog: Catalog,
    events: Iterable[Event],
    name: str,
    format_name: str,
    sources: list[Source],
    drops: Counter[str],
    progress: Progress,
) -> Imported:
    """Write a stream of events that no file tells of into the catalog: the simulator's way in.

    What is left out is counted in `drops`.
    """
    run = _Run(catalog, RecordingTerms(catalog.contracts), Findings(), format_name, sources, name, again=False)
    done = run.write(events, progress)
    drops.update(done.drops)
    return done


class _Run:
    """One import: what its instruments share."""

    def __init__(
        self,
        catalog: Catalog,
        terms: RecordingTerms,
        findings: Findings,
        format_name: str,
        sources: list[Source],
        name: str,
        again: bool,
        trades_alone: bool = False,
    ) -> None:
        self.catalog, self.terms, self.findings = catalog, terms, findings
        self.format, self.sources, self.name, self.again = format_name, sources, name, again
        self.trades_alone = trades_alone
        self.staging = catalog.root / ".staging"

    def write(self, events: Iterable[Event], progress: Progress) -> Imported:
        shutil.rmtree(self.staging, ignore_errors=True)
        writers: dict[str, _InstrumentWriter] = {}
        days: list[Day] = []
        count = 0
        try:
            for count, event in enumerate(events, 1):
                if count % 20_000 == 0:
                    progress(self.name, count)
                writer = writers.get(event.symbol)
                if writer is None:
                    writer = writers[event.symbol] = _InstrumentWriter(self, event.symbol)
                done = writer.add(event)
                if done is not None:
                    days.append(done)
            days += [day for writer in writers.values() if (day := writer.close()) is not None]
        finally:
            shutil.rmtree(self.staging, ignore_errors=True)
        drops = self.findings.total()
        if not days:
            reasons = ", ".join(f"{reason} {n}" for reason, n in drops.most_common(4)) or "no rows"
            error = DataError if count or drops else EmptyFileError
            raise error(f"{self.name}: nothing in it could be imported ({reasons})")
        self.catalog.complete(self.sources, days)
        return Imported(self.name, days, dict(drops), skipped=False)


class _InstrumentWriter:
    """Splits one instrument's events into trading days, and those into the spans that are new."""

    def __init__(self, run: _Run, symbol: str) -> None:
        self._run, self._symbol = run, symbol
        self._drops = run.findings.of(symbol)
        self._contract: Contract | None = None
        self._clock: SessionClock | None = None
        self._book = LevelBook()
        self._orders: OrderBook | None = None
        self._pending: list[OrderLevel] = []
        self._date: dt.date | None = None
        self._span: SpanWriter | None = None
        self._written: list[SpanWriter] = []  # spans of the day that are whole
        self._there: list[Day] = []  # parts of the day that the catalog has from other files
        self._overlap: tuple[Day, Overlap] | None = None
        self._difference: DataError | None = None

    def add(self, event: Event) -> Day | None:
        """Take one event; return the day it completed by starting the next, if it did."""
        stated = 0 if isinstance(event, OrderUpdate) else event.day
        if self._clock is None or self._contract is None:
            self._contract = self._run.terms.of(self._symbol, event.ts_recv, stated)
            self._clock = SessionClock(self._contract.sessions)
        partial = isinstance(event, BookUpdate) and event.depth > 0
        if (partial or isinstance(event, Trade)) and not self._clock.is_open(event.ts_recv):
            self._drops["outside_session"] += 1
            return None
        date = as_date(stated) if stated else self._clock.trading_day(event.ts_recv)
        finished = None
        if self._date is None or date > self._date:
            if isinstance(event, Trade) and self._date is None and not self._run.trades_alone:
                self._drops["trade_before_book"] += 1
                return None
            finished = self.close()
            self._start_day(date, self._contract, keep_book=not partial)
        if self._there and self._is_there(event):
            return finished
        if self._span is None:
            self._start_span(event.ts_recv, self._contract)
        self._write(event)
        return finished

    def close(self) -> Day | None:
        """Finish and commit the day at hand."""
        if self._date is None or self._contract is None:
            return None
        self._end_overlap()
        if self._difference is not None:
            raise self._difference
        if self._span is not None:
            self._written.append(self._span)
        run, date = self._run, self._date
        drops, notes = run.findings.take(self._symbol)
        parts = [
            (span.finish(run.format, run.sources, drops if last else {}, notes if last else []), span.folder)
            for span, last in zip(self._written, _ends(len(self._written)), strict=True)
        ]
        self._date, self._span, self._written = None, None, []
        if not parts:  # the catalog had it all
            return run.catalog.day(self._symbol, date)
        _check_grid(self._contract, date, drops, [part for part, _ in parts])
        return run.catalog.commit(parts, nautilus_instrument(self._contract, date), run.again)

    def _start_day(self, date: dt.date, contract: Contract, keep_book: bool) -> None:
        self._run.terms.check(contract, date)
        self._date = date
        if not keep_book:
            self._book.clear()
        self._there = [] if self._run.again else self._run.catalog.others(contract.id, date, self._run.sources)

    def _start_span(self, ts: int, contract: Contract) -> None:
        """A span begins with the whole book: it can be replayed alone."""
        assert self._date is not None
        folder = self._run.staging / f"{contract.id}.{self._date}.{len(self._written)}"
        self._span = SpanWriter(contract, self._date, folder)
        rows = self._orders.rows() if self._orders is not None else [(*level, 0) for level in self._book.levels()]
        if rows:
            owners = [row[3] for row in rows] if self._orders is not None else ()
            self._span.book([row[:3] for row in rows], ts, ts, clear=True, owners=owners)

    def _is_there(self, event: Event) -> bool:
        """Whether the catalog tells of this moment already: then compare, and write nothing."""
        part = next((p for p in self._there if p.start_ns <= event.ts_recv <= p.end_ns), None)
        if part is not None and self._overlap is None and self._span is not None and self._is_before(event, part):
            assert isinstance(event, Trade)
            self._span.trade(msgspec.structs.replace(event, ts_recv=part.start_ns - _JUST_BEFORE_NS))
            return True
        if self._overlap is not None and self._overlap[0] is not part:
            self._overlap[1].left(event.ts_event)
            self._end_overlap()
        if part is None:
            return False
        if self._overlap is None:
            self._overlap = (part, Overlap(self._run.catalog, part, self._run.name))
            if self._span is not None:
                self._written.append(self._span)
                self._span = None
        if isinstance(event, Trade) or self._changes(event)[0]:
            self._overlap[1].see(event, self._book)
        return True

    def _end_overlap(self) -> None:
        """Note whether the two told the same: said at the end of the day, after what else is wrong with the file."""
        if self._overlap is not None:
            self._difference = self._difference or self._overlap[1].difference
        self._overlap = None

    def _is_before(self, event: Event, part: Day) -> bool:
        """A trade of the interval that ends with the first row of a part, which cannot know of it."""
        return isinstance(event, Trade) and event.ts_recv == part.start_ns and traits(self._run.format).snapshots

    def _write(self, event: Event) -> None:
        assert self._span is not None
        if isinstance(event, Trade):
            self._span.trade(event)
            return
        span, book = self._span, self._book
        changes, owners = self._changes(event)
        if isinstance(event, BookUpdate):
            span.depth = max(span.depth, event.depth)
        elif changes:
            span.orders = True
        if changes:
            span.book(changes, event.ts_event, event.ts_recv, owners=owners)
            if not book.bids or not book.asks:
                span.one_sided += 1
            elif book.is_crossed():
                span.crossed += 1

    def _changes(self, event: BookUpdate | OrderUpdate) -> tuple[list[Level], list[int]]:
        """Apply an event to the book; return the level changes that end with it, and whose orders made them."""
        if isinstance(event, BookUpdate):
            return self._book.apply(event), []
        self._orders = self._orders or OrderBook()
        self._pending += self._orders.apply(event)
        if not event.last or not self._pending:
            return [], []
        changes, owners = [row[:3] for row in self._pending], [row[3] for row in self._pending]
        self._pending = []
        self._book.take(changes)
        return changes, owners


def _ends(count: int) -> list[bool]:
    """Which of so many is the last."""
    return [place == count - 1 for place in range(count)]


def _check_grid(contract: Contract, date: dt.date, drops: dict[str, int], parts: list[Day]) -> None:
    """Raise where most prices lie off the tick: then the contract table's is not the recording's."""
    off, on = drops.get("off_tick", 0), sum(part.levels + part.trades for part in parts)
    if off > on:
        raise DataError(
            f"{contract.id} {date}: {off:,} prices are no multiple of the tick {contract.terms.tick}, {on:,} are; "
            "check the contract table's tick"
        )
